"""A peer: this side's view of one other side, over all connections with it."""

import asyncio
import uuid
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from refusion._base._clock import current_clock
from refusion._base._logging import logger

from ._contract import MethodDefinition
from ._errors import RpcDisconnected, RpcError
from ._inbound_call import InboundCall
from ._limits import RpcCallTimeouts, RpcLimits
from ._link import Link
from ._outbound_call import OutboundCall
from ._reconnection import resume_calls
from ._stream_table import StreamTable
from ._system_messages import SYSTEM_MESSAGES
from .protocol._calls import CallStage, InboundCalls, OutboundCalls
from .protocol._exception_info import info_from_error
from .protocol._handshake import Handshake, peer_change
from .protocol._message import RpcMessage
from .protocol._system_calls import ERROR, HANDSHAKE

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["RpcPeer"]

_SPARE: Final = 64
"""How many calls that are over may be among those that wait, before it is worth looking for them."""


class RpcPeer:
    """One other side. After the handshake the protocol is symmetric: either side may call the other.

    A peer survives its connections: calls that are open when one breaks go on over the next one. All of it
    belongs to the event loop of its hub.
    """

    must_pause_reading = True
    """Whether to take no more calls while answers pile up."""

    def __init__(self, hub: "RpcHub", format_: "RpcFormat") -> None:
        self.hub = hub
        self.format = format_
        self.limits: RpcLimits = hub.limits
        self.loop: asyncio.AbstractEventLoop = hub.loop
        self.id: str = str(uuid.uuid4())
        """The identity of this peer object, which the other side compares to notice a restart."""
        self.outbound: OutboundCalls[OutboundCall] = OutboundCalls()
        self.inbound: InboundCalls[InboundCall] = InboundCalls()
        self.streams: StreamTable = StreamTable(self)
        """The streams in both directions."""
        self.link: Link | None = None
        """The current connection, also one that is being made."""
        self.is_closing: bool = False
        self.handshake_index: int = 0
        """How many handshakes this side has sent."""
        self._handshake: Handshake | None = None
        self._is_limited = self.limits.timeouts != RpcCallTimeouts()
        self._waiting: deque[OutboundCall] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

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

    # Calling

    async def call(self, method: MethodDefinition, values: Sequence[Any]) -> Any:
        """Call a method of the other side and return its result.

        Without a link the call waits for one. A call that was sent when the link breaks isn't lost: the same
        other side is asked about it, another one gets it again. Cancelling cancels the handler, too.

        Raises:
            Exception: What the method has raised; see `RpcRemoteError`.
            RpcArgumentError: If a value doesn't fit its declared type.
            RpcCallTimeout: If there is a time limit and it is over.
            RpcDisconnected: If the peer or its hub is closed.
        """
        if method.is_no_wait:
            await self._send_no_wait(method, values)
            return None
        return await self.start(method, values).wait()

    def start(self, method: MethodDefinition, values: Sequence[Any]) -> OutboundCall:
        """Make a call and return it, sent or waiting for its turn to be sent; its answer is still to come.

        Raises:
            RpcArgumentError: If a value doesn't fit its declared type.
            RpcDisconnected: If the peer or its hub is closed.
        """
        self._check_open()
        call = self.hub.call_kinds[method.kind].outbound_class(self, method, values)
        link = self.link
        is_sendable = link is not None and link.is_open and link.is_writable and not self._waiting
        if not is_sendable:
            call.check_arguments()
        self.outbound.add(call)
        if is_sendable:
            self.send(call)
        else:
            self._wait_for_turn(call)
        if self._is_limited and not call.future.done():
            call.arm(self.limits.timeouts)
        return call

    def send(self, call: OutboundCall) -> None:
        """Put a registered call on the link, which must be open."""
        assert self.link is not None  # noqa: S101  # as the contract says
        try:
            self.link.post(call.message)
        except RpcError as error:
            call.fail(error)
        else:
            call.is_sent = True

    def send_first(self, calls: Iterable[OutboundCall]) -> None:
        """Send these calls before those that wait already, as the link takes them."""
        self._waiting.extendleft(reversed(list(calls)))
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send the calls that wait for a link, or for a link that takes more, as far as it does now."""
        waiting, link = self._waiting, self.link
        while waiting and link is not None and link.is_open and link.is_writable:
            call = waiting.popleft()
            if self.outbound.get(call.id) is call and call.stage is CallStage.WAITING:
                self.send(call)

    def post(self, message: RpcMessage) -> None:
        """Send a message if there is a link; what is lost without one is made up for when there is one again."""
        link = self.link
        if link is not None and link.is_open:
            link.post(message)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None) -> asyncio.Task[Any]:
        """Run something that ends with the peer."""
        task = self.loop.create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The link

    def create_handshake(self) -> RpcMessage:
        """Return what introduces this side on a new connection."""
        self.handshake_index += 1
        handshake = Handshake(self.id, self.hub.id, self.handshake_index)
        return RpcMessage(HANDSHAKE, 0, 0, self.format.encode_handshake(handshake))

    def link_opened(self, link: Link) -> None:
        """Be told of a connection; the newest one counts."""
        previous, self.link = self.link, link
        if previous is not None:
            self._fail_calls_of_link()
            self.streams.link_lost()
            previous.close()

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        """Be told that the other side has introduced itself: settle what is open, then send what waits."""
        change = peer_change(self._handshake, handshake)
        self._handshake = handshake
        self._waiting = deque(self.outbound.waiting_to_be_sent())
        # Before anything is sent that may have streams in it.
        self.streams.link_ready(change, handshake.remote_peer_id)
        resume_calls(self, link, handshake, change)
        self.send_waiting()

    def link_closed(self, link: Link) -> None:
        """Be told that a connection is gone."""
        if self.link is not link:
            return
        self.link = None
        self._fail_calls_of_link()
        self.streams.link_lost()

    # Taking messages

    def handle(self, link: Link, message: RpcMessage) -> None:
        """Do what a message says; whatever is wrong with it, others aren't affected."""
        handler = SYSTEM_MESSAGES.get(message.method)
        if handler is not None:
            handler(self, link, message)
            return
        special = self.hub.system_methods.get(message.method)
        if special is not None:
            special(self, message)
        elif not message.method.startswith("$sys"):
            self._handle_call(message)

    def closed_error(self) -> RpcError:
        """Return the error of calls that end with the peer, or come later."""
        if self.hub.is_closed:
            return RpcDisconnected(f"{self!r} is closed, because the hub was closed; make a client with an open one")
        return RpcDisconnected(f"{self!r} is closed; make a new client")

    def end_calls(self) -> None:
        """End what is open, and let no new calls in."""
        self.is_closing = True
        self._waiting.clear()
        for call in self.outbound:
            call.end(self.closed_error())
        self.streams.end(self.closed_error())

    async def aclose(self) -> None:
        """Close the peer: open calls end with an error, running handlers are cancelled, and no new calls are made.

        Returns when the connection is closed and the handlers have ended. May be called again.
        """
        self.end_calls()
        for inbound in self.inbound.clear():
            inbound.cancel()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if self.link is not None:
            await self._close_link(self.link)
        if tasks:
            await asyncio.wait(tasks)

    # Details

    def _wait_for_turn(self, call: OutboundCall) -> None:
        waiting = self._waiting
        waiting.append(call)
        if len(waiting) > 2 * len(self.outbound) + _SPARE:
            # Most of them were given up since: nobody else takes them out during an outage.
            self._waiting = deque(call for call in waiting if self.outbound.get(call.id) is call)

    async def _send_no_wait(self, method: MethodDefinition, values: Sequence[Any]) -> None:
        codec = self.format.arguments(method.argument_types)
        args = b""
        if method.has_argument_streams:
            self.streams.check(codec, method.argument_types, values)
        else:
            args = codec.encode(values)
        self._check_open()
        link = self.link
        if link is not None and not link.is_writable:
            await link.wait_writable()
        if link is not None and link.is_open:
            if method.has_argument_streams:
                args = self.streams.encode(codec, method.argument_types, values)
            link.post(RpcMessage(method.wire_name, 0, 0, args))

    def _handle_call(self, message: RpcMessage) -> None:
        if self.is_closing:
            return
        known = self.inbound.get(message.related_id)
        if known is not None:
            if known.method == message.method and known.call_type == message.call_type:
                known.repeat(CallStage.WAITING)
            else:
                logger.warning("%r: call %d came again as %s; dropped", self, message.related_id, message.method)
            return
        try:
            definition, implementation = self.hub.find_method(message)
        except RpcError as error:
            if message.related_id != 0:
                data = self.format.encode_error(info_from_error(error))
                self.post(RpcMessage(ERROR, message.related_id, 0, data))
            else:
                logger.warning("%r: a message was dropped: %s", self, error)
            return
        self.hub.call_kinds[message.call_type].inbound_class(self, message, definition, implementation).start()

    def _check_open(self) -> None:
        if self.is_closing:
            raise self.closed_error()

    def _fail_calls_of_link(self) -> None:
        for call in self.outbound.link_lost():
            call.fail(RpcDisconnected(f"the connection broke during {call.method.full_name}"))

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
