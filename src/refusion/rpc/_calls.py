"""Calls in both directions: what is known of one, and what the peers do with it.

Which class a call has depends on its kind. Other layers add kinds of their own: see `RpcCallKind`.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from refusion._base._clock import TimerHandle, current_clock

from ._contract import MethodDefinition
from ._errors import RpcArgumentError, RpcCallTimeout, RpcError, RpcProtocolError
from .protocol._calls import CallStage
from .protocol._exception_info import error_from_info, info_from_error
from .protocol._message import RpcMessage
from .protocol._system_calls import CANCEL, ERROR, OK

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["InboundCall", "OutboundCall", "RpcCallKind", "current_peer"]

_current_peer: ContextVar["RpcPeer | None"] = ContextVar("refusion_rpc_peer", default=None)


def current_peer() -> "RpcPeer":
    """Return the peer whose call is being handled; for use in the methods of services.

    Raises:
        LookupError: If no call is being handled.
    """
    peer = _current_peer.get()
    if peer is None:
        raise LookupError("current_peer() is known only while a call of a peer is handled")
    return peer


class OutboundCall:
    """A call that this side has made."""

    __slots__ = (
        "args",
        "future",
        "id",
        "is_sent",
        "may_reconnect",
        "may_resend",
        "method",
        "peer",
        "stage",
        "timer",
    )

    call_type = 0

    def __init__(self, peer: "RpcPeer", method: MethodDefinition, values: Sequence[Any]) -> None:
        self.peer: RpcPeer = peer
        self.method: MethodDefinition = method
        self.args: bytes = peer.format.arguments(method.argument_types).encode(values)
        self.id: int = 0
        self.stage: CallStage = CallStage.WAITING
        self.is_sent: bool = False
        self.may_reconnect: bool = True
        self.may_resend: bool = True
        self.future: asyncio.Future[Any] = peer.loop.create_future()
        self.timer: TimerHandle | None = None

    @property
    def message(self) -> RpcMessage:
        """What is sent; the same each time, so that the other side can tell a repetition."""
        return RpcMessage(self.method.wire_name, self.id, self.call_type, self.args)

    async def wait(self) -> Any:
        """Return the result, or raise the error; cancelling cancels the call on the other side, too."""
        try:
            return await self.future
        except asyncio.CancelledError:
            self.cancel()
            raise

    def succeeded(self, data: bytes) -> None:
        """Take the result."""
        try:
            (value,) = self.peer.format.result(self.method.result_type).decode(data)
        except RpcArgumentError as error:
            self.end(RpcArgumentError(f"the result of {self.method.full_name} doesn't fit: {error}"))
            return
        self.end(None, value)

    def failed(self, data: bytes) -> None:
        """Take the error."""
        try:
            error: Exception = error_from_info(self.peer.format.decode_error(data))
        except RpcProtocolError as problem:
            error = problem
        self.end(error)

    def matched(self) -> None:
        """Take word that a cached result still holds; only calls that have one ask for that."""
        self.end(RpcError(f"{self.method.full_name} was answered with a match, but nothing is cached for it"))

    def end(self, error: Exception | None, value: Any = None) -> None:
        """Settle the call, which is over then."""
        self.peer.outbound.remove(self.id)
        self.settle(error, value)

    def settle(self, error: Exception | None, value: Any = None) -> None:
        """Give the caller the outcome; only the first one counts."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.future.done():
            return
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)

    def cancel(self) -> None:
        """End the call on both sides; the other side is told if it may know of it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.peer.outbound.remove(self.id) is not None:
            if self.is_sent:
                self.peer.post(RpcMessage(CANCEL, self.id))
            self.future.cancel()

    def time_out(self, seconds: float) -> None:
        """End the call because it took too long."""
        if self.peer.outbound.remove(self.id) is None:
            return
        if self.is_sent:
            self.peer.post(RpcMessage(CANCEL, self.id))
        self.settle(RpcCallTimeout(f"{self.method.full_name} wasn't answered within {seconds:g} s"))

    def peer_forgot(self) -> None:
        """Be told that the other side, which has answered, won't say any more about the call."""
        self.peer.outbound.remove(self.id)


class InboundCall:
    """A call of the other side."""

    __slots__ = (
        "args",
        "call_type",
        "definition",
        "id",
        "implementation",
        "is_cancelled",
        "method",
        "peer",
        "reply",
        "task",
    )

    def __init__(self, peer: "RpcPeer", message: RpcMessage, definition: MethodDefinition, implementation: Any) -> None:
        self.peer: RpcPeer = peer
        self.id: int = message.related_id
        self.method: str = message.method
        self.call_type: int = message.call_type
        self.args: bytes = message.args
        self.definition: MethodDefinition = definition
        self.implementation: Any = implementation
        self.reply: RpcMessage | None = None
        """The answer, once there is one."""
        self.is_cancelled: bool = False
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the method in a task of its own, on behalf of nobody here."""
        self.peer.inbound.add(self)
        self.task = self.peer.spawn(self._run(), name=f"rpc {self.definition.full_name}", context=Context())

    def cancel(self) -> None:
        """Stop because the other side no longer wants the result; no answer is sent."""
        self.is_cancelled = True
        self.peer.inbound.remove(self)
        if self.task is not None:
            self.task.cancel()

    def repeat(self, stage: int) -> None:
        """Answer again: the other side doesn't have, or isn't sure to have, what was sent; `stage` is what it has."""
        if self.reply is not None and stage == CallStage.WAITING:
            self.peer.post(self.reply)

    async def run_method(self, values: Sequence[Any]) -> Any:
        """Run the method and return its result."""
        return await self.definition.call(self.implementation, values)

    def replied(self) -> None:
        """Be told that the answer is on its way; a regular call is over."""
        self.peer.inbound.remove(self)

    async def _run(self) -> None:
        _current_peer.set(self.peer)
        codec = self.peer.format
        try:
            result = await self.run_method(self._decode_arguments())
            reply = RpcMessage(OK, self.id, 0, codec.result(self.definition.result_type).encode((result,)))
        except asyncio.CancelledError as error:
            if self.is_cancelled or self.peer.is_closing:
                # A closing server says nothing, so that its clients ask the next one.
                self.peer.inbound.remove(self)
                raise
            reply = self._error_reply(error)
        except Exception as error:
            reply = self._error_reply(error)
        if self.is_cancelled:
            return
        if self.definition.is_no_wait:
            self.peer.inbound.remove(self)
            return
        self.reply = reply
        self.peer.post(reply)
        self.replied()

    def _decode_arguments(self) -> Sequence[Any]:
        try:
            return self.peer.format.arguments(self.definition.argument_types).decode(self.args)
        except RpcArgumentError as error:
            raise self.definition.describe_misfit(error) from None

    def _error_reply(self, error: BaseException) -> RpcMessage:
        if self.definition.is_no_wait:
            self.peer.report_unanswered(self.definition, error)
        return RpcMessage(ERROR, self.id, 0, self.peer.format.encode_error(info_from_error(error)))


class RpcCallKind:
    """One call type of the protocol: how its calls are made and handled.

    The hub has one for regular calls. Another layer registers a subclass for a call type of its own.
    """

    call_type = 0
    outbound_class: type[OutboundCall] = OutboundCall
    inbound_class: type[InboundCall] = InboundCall

    def system_methods(self) -> dict[str, Any]:
        """Return handlers, called with the peer and the message, of system messages that belong to this kind."""
        return {}


def start_timeout(call: OutboundCall, seconds: float) -> None:
    """End `call` if it takes longer."""
    clock = current_clock()
    call.timer = clock.call_at(clock.now() + seconds, lambda: call.time_out(seconds))
