"""A peer: this side's view of one other side, over all connections with it.

It is where everything about one other side meets: calls in both directions, streams, cancellations, the current link,
and what becomes of all that when a link comes or goes. What each of them does is in a file of its own; here is the
order in which they are told.
"""

import asyncio
import uuid
from collections.abc import Container, Coroutine, Iterable, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from refusion._aio._signal import Signal
from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import logger

from ._admission import CallAdmission
from ._answers import error_data
from ._call_context import create_call_context
from ._cancellations import Cancellations
from ._contract import MethodDefinition
from ._declaration import RpcExecutionMode
from ._errors import RpcArgumentError, RpcDisconnected, RpcError
from ._gateways import PASSED_ON
from ._inbound_call import InboundCall
from ._limits import NO_TIMEOUTS, RpcLimits
from ._link import Link
from ._outbound_call import OutboundCall
from ._reconnection import resume_calls
from ._stream_table import StreamTable
from ._tracing import trace_headers
from ._waiting_calls import WaitingCalls
from .protocol._calls import CallStage, InboundCalls, OutboundCalls
from .protocol._handshake import Handshake, PeerChange, peer_change
from .protocol._message import Headers, RpcMessage
from .protocol._system_calls import ERROR, HANDSHAKE
from .protocol._version_set import VersionSet

if TYPE_CHECKING:
    from ._call_kind import MessageHandler
    from ._hub import RpcHub
    from .formats import ArgumentCodec, RpcFormat
    from .transports import ConnectionRequest

__all__ = ["RpcPeer"]


class RpcPeer:
    """One other side. After the handshake the protocol is symmetric: either side may call the other.

    A peer survives its connections: calls that are open when one breaks go on over the next one. All of it
    belongs to the event loop of its hub.
    """

    # There may be very many, and a dict of this many attributes would be most of each.
    __slots__ = (
        "__weakref__",
        "_call_kinds",
        "_command_timeouts",
        "_delay_periods",
        "_handshake",
        "_pauses",
        "_query_timeouts",
        "_ready",
        "_request",
        "_tasks",
        "_timer",
        "_waiting",
        "admission",
        "call_context",
        "cancellations",
        "format",
        "handlers",
        "handshake_index",
        "hub",
        "id",
        "inbound",
        "is_closing",
        "limits",
        "link",
        "loop",
        "max_argument_bytes",
        "outbound",
        "streams",
        "takes_calls",
    )

    is_server = False
    """Whether this is the side that has accepted the connection."""

    must_pause_reading = True
    """Whether to take no more calls while answers pile up."""

    def __init__(self, hub: "RpcHub", format_: "RpcFormat") -> None:
        self.hub: RpcHub = hub
        self.format: RpcFormat = format_
        self.limits: RpcLimits = hub.limits
        self.loop: asyncio.AbstractEventLoop = hub.loop
        self.id: str = str(uuid.uuid4())
        """The identity of this peer object, which the other side compares to notice a restart."""
        self.outbound: OutboundCalls[OutboundCall] = OutboundCalls()
        self.inbound: InboundCalls[InboundCall] = InboundCalls()
        self.cancellations: Cancellations = Cancellations(self)
        """What the other side has to know of calls that have ended here."""
        self.streams: StreamTable = StreamTable(self)
        """The streams in both directions."""
        self._call_kinds = hub.table.kinds
        self.handlers: Mapping[str, MessageHandler] = hub.table.handlers
        """What takes the messages of the other side, by wire name."""
        self.link: Link | None = None
        """The current connection, also one that is being made."""
        self.is_closing: bool = False
        self.takes_calls: bool = True
        """Whether new calls of the other side are run; those that aren't are left to the next server."""
        self.handshake_index: int = 0
        """How many handshakes this side has sent."""
        self.admission: CallAdmission = CallAdmission(self)
        """The handlers that run for the other side."""
        self.call_context: Context = create_call_context(self)
        """What handlers run in copies of."""
        self._handshake: Handshake | None = None
        self._request: ConnectionRequest | None = None
        self._delay_periods = max(1, round(self.limits.delayed_call_threshold / self.limits.keep_alive_period))
        self._query_timeouts = self.limits.query_timeouts
        self._command_timeouts = self.limits.command_timeouts
        self.max_argument_bytes: int = self.limits.sizes.argument_bytes
        """How much argument data a message may have."""
        self._waiting = WaitingCalls()
        self._pauses: dict[object, None] = {}
        self._ready: Signal | None = None
        self._timer: TimerHandle | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}

    @property
    def is_connected(self) -> bool:
        """Whether there is a link, so that calls go out."""
        return self.link is not None and self.link.is_open

    @property
    def call_count(self) -> int:
        """How many calls were made to the other side, over all connections."""
        return self.outbound.added_count

    @property
    def remote_hub_id(self) -> str | None:
        """The id of the other side's hub, as of the last handshake."""
        return None if self._handshake is None else self._handshake.remote_hub_id

    @property
    def remote_versions(self) -> VersionSet:
        """The versions of the API that the other side speaks, as of the last handshake."""
        return VersionSet(None if self._handshake is None else self._handshake.api_versions)

    @property
    def secret(self) -> str | None:
        """What the other side proves with that it is the same one when it comes back; only servers give one."""
        return None

    @property
    def request(self) -> "ConnectionRequest | None":
        """What the other side has connected with, the last time; None at a client."""
        return self._request

    @property
    def must_read_on(self) -> bool:
        """Whether this side waits for the other one: for answers, or for items of a stream."""
        return self.streams.remote_count > 0 or self.outbound.has_waiting

    # Calling

    def start(
        self,
        method: MethodDefinition,
        values: Sequence[Any],
        headers: Headers = (),
        *,
        started_at: float | None = None,
    ) -> OutboundCall:
        """Make a call and return it, sent or waiting for its turn to be sent; its answer is still to come.

        Without a link the call waits for one. A call that was sent when the link breaks isn't lost: the same
        other side is asked about it, another one gets it again.

        Its time limit counts from `started_at`, in clock time, if it was made elsewhere before.

        Raises:
            RpcArgumentError: If a value doesn't fit its declared type.
            RpcDisconnected: If the peer or its hub is closed, or there is no link and the method doesn't wait for one.
        """
        if self.is_closing:
            raise self.closed_error()
        call = self._call_kinds[method.kind].outbound_class(self, method, values, self._headers(method, headers))
        link = self.link
        if link is not None and not self._waiting and link.takes_calls:
            self.outbound.add(call)
            self.send(call)
        else:
            if RpcExecutionMode.AWAIT_CONNECTION not in method.mode and not self.is_connected:
                raise RpcDisconnected(
                    f"{method.full_name} wasn't called: there is no link, and it doesn't wait for one"
                )
            call.check_arguments()
            self.outbound.add(call)
            self._waiting.add(call, self.outbound)
        if self._pauses:
            self.read_on()
        timeouts = method.timeouts
        if timeouts is None:
            timeouts = self._command_timeouts if method.is_command else self._query_timeouts
        if timeouts is not NO_TIMEOUTS and not call.future.done():
            call.arm(timeouts, started_at)
        return call

    async def send_no_wait(self, method: MethodDefinition, values: Sequence[Any], headers: Headers = ()) -> None:
        """Make a call that nobody waits for: it is sent if there is a link, as soon as that takes it, or dropped.

        Raises:
            RpcArgumentError: If a value doesn't fit its declared type.
            RpcDisconnected: If the peer or its hub is closed.
        """
        if self.is_closing:
            raise self.closed_error()
        args = b""
        if method.has_argument_streams:
            self.streams.check(method.codecs[self.format].arguments, method.argument_types, values)
        else:
            args = self.encode_arguments(method, values)
        link = self.link
        if link is not None and not link.is_writable:
            await link.wait_writable()
        if link is not None and link.is_open:
            if method.has_argument_streams:
                # Not before it is certain that they leave: nobody would ever read them.
                args = self.encode_arguments(method, values)
            link.post(RpcMessage(method.wire_name, 0, 0, args, self._headers(method, headers)))

    def send(self, call: OutboundCall) -> None:
        """Put a registered call on the link, which must be open."""
        assert self.link is not None  # noqa: S101  # as the contract says
        try:
            self.link.post(call.message)
        except RpcError as error:
            call.fail(error)
        except Exception as error:
            # A format of the user's may raise anything; the call must not stay open for that, nor others unsent.
            failure = RpcArgumentError(f"{call.method.full_name} can't be sent: {error!r}")
            failure.__cause__ = error
            call.fail(failure)
        else:
            call.is_sent = True

    def send_first(self, calls: Iterable[OutboundCall]) -> None:
        """Send these calls before those that wait already, as the link takes them."""
        self._waiting.put_first(calls)
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send the calls that wait for a link, or for a link that takes more, as far as it does now."""
        waiting, link = self._waiting, self.link
        while waiting and link is not None and link.is_open and link.is_writable:
            call = waiting.take_first(self.outbound)
            if call is not None:
                self.send(call)

    def post(self, message: RpcMessage) -> None:
        """Send a message if there is a link; what is lost without one is made up for when there is one again."""
        link = self.link
        if link is not None and link.is_open:
            link.post(message)

    def encode_arguments(self, method: MethodDefinition, values: Sequence[Any]) -> bytes:
        """Return the argument data for a call of the other side.

        Raises:
            RpcArgumentError: If a value can't be written.
            RpcLimitExceeded: If the data is too large for a message.
        """
        codec = method.codecs[self.format].arguments
        if method.has_argument_streams:
            return self.streams.encode(codec, method.argument_types, values)
        return codec.encode(values, self.max_argument_bytes)

    def encode_result(self, method: MethodDefinition, result: Any) -> bytes:
        """Return the argument data for an answer to the other side; raises as `encode_arguments` does."""
        codec = method.codecs[self.format].result
        if method.has_result_streams:
            return self.streams.encode(codec, (method.result_type,), (result,))
        return codec.encode((result,), self.max_argument_bytes)

    def decode(self, codec: "ArgumentCodec", data: bytes, *, has_streams: bool) -> Sequence[Any]:
        """Return the values in argument data of the other side.

        Raises:
            RpcArgumentError: If the data doesn't fit the declared types.
        """
        return self.streams.decode(codec, data) if has_streams else codec.decode(data)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None) -> asyncio.Task[Any]:
        """Run something that ends with the peer."""
        task = self.loop.create_task(work, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    # The link

    def create_handshake(self) -> RpcMessage:
        """Return what introduces this side on a new connection."""
        self.handshake_index += 1
        handshake = Handshake(
            self.id, self.hub.id, self.handshake_index, api_versions=self.hub.versions, secret=self.secret
        )
        return RpcMessage(HANDSHAKE, 0, 0, self.format.encode_handshake(handshake))

    def link_opened(self, link: Link) -> None:
        """Be told of a connection; the newest one counts."""
        previous, self.link = self.link, link
        if self._timer is not None:
            self._timer.cancel()
        self._request = link.request
        if previous is not None:
            self._fail_calls_of_link()
            self.streams.link_lost()
            previous.close()

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        """Be told that the other side has introduced itself: settle what is open, then send what waits."""
        change = peer_change(self._handshake, handshake)
        self._handshake = handshake
        self.handlers = self.hub.table.handlers_for(self.remote_versions)
        self._waiting = WaitingCalls((call.id, call) for call in self.outbound.waiting_to_be_sent())
        # Before anything is sent that may have streams in it.
        self.streams.link_ready(change, handshake.remote_peer_id)
        self.cancellations.link_ready(change)
        resume_calls(self, link, handshake, change)
        if change is PeerChange.UNCHANGED and len(self.inbound):
            clock = current_clock()
            self._timer = clock.call_at(clock.now() + self.limits.keep_alive_period, self._make_up_for_the_outage)
        self.send_waiting()
        self._wake_senders()

    def link_closed(self, link: Link) -> None:
        """Be told that a connection is gone."""
        if self.link is not link:
            return
        self.link = None
        if self._timer is not None:
            self._timer.cancel()
        self._fail_calls_of_link()
        self.streams.link_lost()

    def pause_reading(self, owner: object) -> None:
        """Take no further messages until `owner` resumes: it has too much to do already.

        A new connection is read at first, and any connection from when this side begins to wait for the other one.
        So owners have to ask again with each message that is too much.
        """
        self._pauses[owner] = None
        if self.link is not None and not self.must_read_on:
            self.link.pause_for_calls()

    def resume_reading(self, owner: object) -> None:
        """Go on taking messages, as far as `owner` is concerned."""
        self._pauses.pop(owner, None)
        if not self._pauses and self.link is not None:
            self.link.resume_for_calls()

    def read_on(self) -> None:
        """Be told that this side begins to wait for something of the other one, which has to be read."""
        self.admission.read_on()
        if self._pauses and self.link is not None:
            self.link.resume_for_calls()

    async def wait_writable(self) -> Link:
        """Wait until there is a link that takes messages, and return it.

        Raises:
            RpcDisconnected: If the peer or its hub is closed.
        """
        while not self.is_closing:
            link = self.link
            if link is None or not link.is_open:
                self._ready = ready = self._ready or Signal()
                await ready.wait()
            elif link.is_writable:
                return link
            else:
                await link.wait_writable()
        raise self.closed_error()

    def keep_alive_period_passed(self) -> None:
        """Look after what has been open for long."""
        self.cancellations.period_passed()
        for call in self.outbound:
            if call.stage is CallStage.WAITING and call.is_sent:
                call.age += 1
                if call.age == self._delay_periods:
                    logger.warning("%r has not answered %s yet", self, call.method.full_name)
                    call.delayed()

    # Taking messages

    def take_unknown(self, message: RpcMessage) -> None:
        """Take a message that no service answers to."""
        if not self.takes_calls or message.method.startswith("$sys"):
            return
        hash_ = message.method_hash
        name = message.method if hash_ is None else f"Service.Method<{hash_:08x}>"
        self.refuse(message, RpcError(f"Endpoint not found: '{name}'."))

    def refuse(self, message: RpcMessage, error: RpcError) -> None:
        """Answer a call with an error in place of running it."""
        if message.related_id != 0:
            self.post(RpcMessage(ERROR, message.related_id, 0, error_data(self, error, "a call")))
        else:
            self.hub.dropped_messages.report(self, error)

    def closed_error(self) -> RpcError:
        """Return the error of calls that end with the peer, or come later."""
        if self.hub.is_closed:
            return RpcDisconnected(f"{self!r} is closed, because the hub was closed; make a client with an open one")
        return RpcDisconnected(f"{self!r} is closed; make a new client")

    def end_calls(self) -> None:
        """End what is open, and let no new calls in."""
        self.is_closing = True
        self.takes_calls = False
        self._waiting.clear()
        self.cancellations.clear()
        self.admission.clear()
        for call in self.outbound:
            call.end(self.closed_error())
        self.streams.end(self.closed_error())
        self._wake_senders()

    async def drain(self, but: Container[asyncio.Task[Any]]) -> None:
        """Wait until no handler runs, except in the tasks `but`, and no call waits for an answer that can come."""
        while True:
            busy: list[asyncio.Future[Any]] = [task for task in self.admission.tasks if task not in but]
            if self.is_connected:
                busy += [call.future for call in self.outbound if call.stage is CallStage.WAITING]
            if not busy:
                return
            # For all of them: there may be thousands, and to look again after each takes its time.
            await asyncio.wait(busy)

    async def aclose(self) -> None:
        """Close the peer: open calls end with an error, running handlers are cancelled, and no new calls are made.

        Returns when the connection is closed and the handlers have ended. May be called again.
        """
        self.end_calls()
        for inbound in self.inbound.clear():
            inbound.cancel()
        tasks = [
            task for task in self._tasks.keys() | self.admission.tasks.keys() if task is not asyncio.current_task()
        ]
        for task in tasks:
            task.cancel()
        if self.link is not None:
            await self._close_link(self.link)
        if tasks:
            await asyncio.wait(tasks)

    # Details

    def _headers(self, method: MethodDefinition, headers: Headers) -> Headers:
        headers = headers or trace_headers()
        return (*headers, PASSED_ON) if method.passed_on_to is self else headers

    def _wake_senders(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.set()

    def _make_up_for_the_outage(self) -> None:
        """Tell of what has happened to calls during the outage that the other side hasn't asked about since."""
        for call in self.inbound:
            call.make_up()

    def _fail_calls_of_link(self) -> None:
        for call in self.outbound.link_lost():
            call.fail(RpcDisconnected(f"the connection broke during {call.method.full_name}"))
        for call in list(self._waiting.values()):
            if not call.awaits_connection and not call.is_sent:
                call.fail(
                    RpcDisconnected(
                        f"{call.method.full_name} wasn't sent before the connection broke, and it waits for no other"
                    )
                )

    async def _close_link(self, link: Link) -> None:
        if not link.is_writable:
            # It doesn't take what is there, so it wouldn't take a farewell either.
            link.abort()
        link.close()
        clock = current_clock()
        timer = clock.call_at(clock.now() + self.limits.close_timeout, link.abort)
        try:
            await link.closed.wait()
        finally:
            timer.cancel()
            link.abort()
