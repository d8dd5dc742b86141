"""A call of the other side, from its arrival to its answer."""

import asyncio
from collections.abc import Sequence
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from refusion._base._logging import logger

from ._contract import MethodDefinition
from ._errors import RpcArgumentError, RpcError
from .protocol._calls import CallStage
from .protocol._exception_info import info_from_error
from .protocol._message import RpcMessage
from .protocol._system_calls import ERROR, OK

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["InboundCall", "current_peer"]

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


class InboundCall:
    """A call of the other side.

    It is in its peer's table of inbound calls until it is over, and as long as it is there the same call isn't
    run again. A regular call is over when it is answered, also if the answer gets lost; a kind whose calls
    outlive their answers overrides `replied`, see `RpcCallKind`.
    """

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
        """Whether the other side, or the end of the peer, has stopped it; nothing is sent about it any more."""
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the method in a task of its own, on behalf of nobody here."""
        self.peer.inbound.add(self)
        self.task = self.peer.spawn(self._run(), name=self.method, context=Context())

    def cancel(self) -> None:
        """Stop because nobody wants the result any more; no answer is sent."""
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
        try:
            reply = await self._answer()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Also what isn't an Exception, as a group with a cancellation in it: somebody waits for an answer.
            if isinstance(error, asyncio.CancelledError) and (self.is_cancelled or self.peer.is_closing):
                # A closing server says nothing, so that its clients ask the next one.
                self.peer.inbound.remove(self)
                raise
            reply = self._error_answer(error)
        if self.is_cancelled:
            return
        if reply is None:
            self.peer.inbound.remove(self)
            return
        self.reply = reply
        self.peer.post(reply)
        self.replied()

    async def _answer(self) -> RpcMessage | None:
        definition = self.definition
        streams = self.peer.streams
        arguments = self.peer.format.arguments(definition.argument_types)
        try:
            if definition.has_argument_streams:
                values = streams.decode(arguments, self.args)
            else:
                values = arguments.decode(self.args)
        except RpcArgumentError as error:
            raise definition.describe_misfit(error) from None
        result = await self.run_method(values)
        if definition.is_no_wait or self.is_cancelled:
            return None
        codec = self.peer.format.result(definition.result_type)
        if definition.has_result_streams:
            data = streams.encode(codec, (definition.result_type,), (result,))
        else:
            data = codec.encode((result,))
        return RpcMessage(OK, self.id, 0, data)

    def _error_answer(self, error: BaseException) -> RpcMessage | None:
        if self.definition.is_no_wait:
            logger.error("%s failed, and nobody waits for it", self.definition.full_name, exc_info=error)
            return None
        codec = self.peer.format
        try:
            data = codec.encode_error(info_from_error(error))
        except RpcError as problem:
            # Its text is too long, or no text at all; the caller has to hear something.
            logger.error("an error of %s can't be sent", self.definition.full_name, exc_info=error)
            told = RpcError(f"{self.definition.full_name} failed with an error that can't be sent: {problem}")
            data = codec.encode_error(info_from_error(told))
        return RpcMessage(ERROR, self.id, 0, data)
