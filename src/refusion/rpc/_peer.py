"""A peer: this side's view of one other side, over all connections with it."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from refusion._base._logging import logger

from ._calls import InboundCall, OutboundCall, start_timeout
from ._contract import MethodDefinition
from ._errors import RpcArgumentError, RpcDisconnected, RpcError, RpcLimitExceeded, RpcProtocolError
from ._limits import RpcLimits
from ._link import Link
from .protocol._calls import InboundCalls, OutboundCalls, Reconciliation
from .protocol._exception_info import info_from_error
from .protocol._handshake import Handshake, PeerChange, peer_change
from .protocol._message import RpcMessage
from .protocol._system_calls import (
    CANCEL,
    DISCONNECT,
    ERROR,
    HANDSHAKE,
    KEEP_ALIVE,
    MATCH,
    NOT_FOUND,
    OK,
    RECONNECT,
)

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["RpcPeer"]

_RECONNECT_TYPES: Final = (int, dict[int, bytes])


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
        self.link: Link | None = None
        """The current connection, also one that is being made."""
        self.is_closing: bool = False
        self._handshake: Handshake | None = None
        self._handshake_index = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._system: dict[str, Callable[[Link, RpcMessage], None]] = {
            OK: self._on_ok,
            ERROR: self._on_error,
            CANCEL: self._on_cancel,
            MATCH: self._on_match,
            NOT_FOUND: self._on_not_found,
            RECONNECT: self._on_reconnect,
            KEEP_ALIVE: self._on_keep_alive,
        }

    @property
    def is_connected(self) -> bool:
        """Whether calls go out at once now."""
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
        call = await self.start(method, values)
        return await call.wait()

    async def start(self, method: MethodDefinition, values: Sequence[Any]) -> OutboundCall:
        """Make a call, waiting only while the connection takes no more."""
        link = self.link
        if link is not None and not link.is_writable:
            await link.wait_writable()
        self._check_open()
        call = self.hub.call_kinds[method.kind].outbound_class(self, method, values)
        self.outbound.add(call)
        timeout = self.limits.timeouts.run
        if timeout is not None:
            start_timeout(call, timeout)
        self._send(call)
        return call

    def post(self, message: RpcMessage) -> None:
        """Send a message if there is a link; what is lost without one is made up for when there is one again."""
        link = self.link
        if link is None or not link.is_open:
            return
        try:
            link.post(message)
        except (RpcLimitExceeded, RpcProtocolError) as error:
            if message.method != OK:
                raise
            link.post(RpcMessage(ERROR, message.related_id, 0, self.format.encode_error(info_from_error(error))))

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None) -> asyncio.Task[Any]:
        """Run something that ends with the peer."""
        task = self.loop.create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The link

    def create_handshake(self) -> RpcMessage:
        """Return what introduces this side on a new connection."""
        self._handshake_index += 1
        handshake = Handshake(self.id, self.hub.id, self._handshake_index)
        return RpcMessage(HANDSHAKE, 0, 0, self.format.encode_handshake(handshake))

    def link_opened(self, link: Link) -> None:
        """Be told of a connection; the newest one counts."""
        previous, self.link = self.link, link
        if previous is not None and previous is not link:
            previous.close()

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        """Be told that the other side has introduced itself: settle what is open, then send what waits."""
        change = peer_change(self._handshake, handshake)
        self._handshake = handshake
        if change is PeerChange.CHANGED:
            for inbound in self.inbound.clear():
                inbound.cancel()
            self._reconcile(self.outbound.peer_changed())
        elif change is PeerChange.UNCHANGED:
            stages = self.outbound.stages()
            if stages:
                self.spawn(self._ask_about_calls(link, stages), name="rpc reconnect")
        for call in self.outbound.waiting_to_be_sent():
            self._send(call)

    def link_closed(self, link: Link) -> None:
        """Be told that a connection is gone."""
        if self.link is not link:
            return
        self.link = None
        for call in self.outbound.link_lost():
            call.end(RpcDisconnected(f"the connection broke during {call.method.full_name}"))

    # Taking messages

    def handle(self, link: Link, message: RpcMessage) -> None:
        """Do what a message says; whatever is wrong with it, others aren't affected."""
        handler = self._system.get(message.method)
        if handler is not None:
            handler(link, message)
            return
        special = self.hub.system_methods.get(message.method)
        if special is not None:
            special(self, message)
        elif not message.method.startswith("$sys"):
            self._on_call(message)

    def report_unanswered(self, method: MethodDefinition, error: BaseException) -> None:
        """Log an error that no caller waits for."""
        logger.error("%s failed, and nobody waits for it", method.full_name, exc_info=error)

    async def shut_down(self, error: RpcError) -> None:
        """End all calls with `error`, close the link, and wait for the handlers that were cancelled."""
        self.is_closing = True
        for call in self.outbound:
            call.end(error)
        for inbound in self.inbound.clear():
            if inbound.task is not None:
                inbound.task.cancel()
        link = self.link
        if link is not None:
            link.close()
            await link.closed.wait()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Details

    def _check_open(self) -> None:
        if self.is_closing:
            raise RpcDisconnected(f"{self!r} is closed; make a new client with an open hub")

    def _send(self, call: OutboundCall) -> None:
        link = self.link
        if link is None or not link.is_open:
            return
        try:
            link.post(call.message)
            call.is_sent = True
        except (RpcLimitExceeded, RpcProtocolError) as error:
            call.end(error)

    async def _send_no_wait(self, method: MethodDefinition, values: Sequence[Any]) -> None:
        link = self.link
        args = self.format.arguments(method.argument_types).encode(values)
        if link is None or not link.is_open:
            return
        if not link.is_writable:
            await link.wait_writable()
        if link.is_open:
            link.post(RpcMessage(method.wire_name, 0, 0, args))

    async def _ask_about_calls(self, link: Link, stages: dict[int, bytes]) -> None:
        """Ask the same other side which open calls it doesn't know, and settle those."""
        assert link.handshake is not None  # noqa: S101  # it has just come
        args = (link.handshake.index, stages)
        call = OutboundCall(self, _RECONNECT, args)
        call.may_reconnect = call.may_resend = False
        self.outbound.add(call)
        self._send(call)
        try:
            unknown: bytes = await call.future
            outcome = self.outbound.same_peer_answered(unknown)
        except RpcDisconnected:
            # The next connection asks again.
            return
        except Exception as error:
            logger.warning("%r couldn't be asked about open calls, so they are sent again: %s", self, error)
            outcome = self.outbound.same_peer_refused()
        if self.link is link:
            self._reconcile(outcome)

    def _reconcile(self, outcome: Reconciliation[OutboundCall]) -> None:
        for call in outcome.invalidated:
            call.peer_forgot()
        for call in outcome.failed:
            call.end(RpcDisconnected(f"the other side has restarted during {call.method.full_name}"))
        for call in outcome.resent:
            self._send(call)

    def _on_ok(self, link: Link, message: RpcMessage) -> None:
        call = self.outbound.get(message.related_id)
        if call is not None:
            call.succeeded(message.args)

    def _on_error(self, link: Link, message: RpcMessage) -> None:
        call = self.outbound.get(message.related_id)
        if call is not None:
            call.failed(message.args)

    def _on_match(self, link: Link, message: RpcMessage) -> None:
        call = self.outbound.get(message.related_id)
        if call is not None:
            call.matched()

    def _on_not_found(self, link: Link, message: RpcMessage) -> None:
        call = self.outbound.get(message.related_id)
        if call is not None:
            call.end(RpcError(f"Endpoint not found: '{call.method.wire_name}'."))

    def _on_cancel(self, link: Link, message: RpcMessage) -> None:
        call = self.inbound.get(message.related_id)
        if call is not None:
            call.cancel()

    def _on_keep_alive(self, link: Link, message: RpcMessage) -> None:
        link.keep_alive_received()
        codec = self.format.arguments((list[int],))
        try:
            (ids,) = codec.decode(message.args)
        except RpcArgumentError:
            return
        if ids:
            # No objects are shared here, so the other side should stop counting on them.
            self.post(RpcMessage(DISCONNECT, 0, 0, codec.encode((ids,))))

    def _on_reconnect(self, link: Link, message: RpcMessage) -> None:
        try:
            index, stages = self.format.arguments(_RECONNECT_TYPES).decode(message.args)
            if index != self._handshake_index or link.has_reconnected:
                raise RpcError(  # noqa: TRY301
                    f"Too late for this reconnect round: own handshake index {self._handshake_index} != {index}."
                )
            link.has_reconnected = True
            unknown, known = self.inbound.reconnect(stages)
        except (RpcError, ValueError) as error:
            self.post(RpcMessage(ERROR, message.related_id, 0, self.format.encode_error(info_from_error(error))))
            return
        self.post(RpcMessage(OK, message.related_id, 0, self.format.result(bytes).encode((unknown,))))
        for call, stage in known:
            call.repeat(stage)

    def _on_call(self, message: RpcMessage) -> None:
        if self.is_closing:
            return
        known = self.inbound.get(message.related_id)
        if known is not None:
            if known.method == message.method and known.call_type == message.call_type:
                known.repeat(0)
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


class _ReconnectContract:
    async def reconnect(self, handshake_index: int, stages: dict[int, bytes]) -> bytes:
        """Stand for the protocol's own call with an answer."""
        raise NotImplementedError


_RECONNECT: Final = MethodDefinition(_ReconnectContract, "$sys", "reconnect", _ReconnectContract.reconnect)
