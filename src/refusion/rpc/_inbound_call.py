"""A call of the other side, from its arrival to its answer."""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from refusion._base._logging import logger

from ._call_context import InboundContext, set_headers
from ._errors import RpcError, RpcOverloaded
from ._tracing import set_trace
from .protocol._calls import CallStage
from .protocol._exception_info import info_from_error
from .protocol._message import RpcMessage
from .protocol._system_calls import ERROR, OK

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._peer import RpcPeer
    from ._served_method import ServedMethod

__all__ = ["InboundCall"]


class InboundCall:
    """A call of the other side.

    It is in its peer's table of inbound calls until it is over, and as long as it is there the same call isn't
    run again. A regular call is over when it is answered, even if the answer gets lost; a kind whose calls
    outlive their answers overrides `replied`, see `RpcCallKind`.
    """

    __slots__ = (
        "call_type",
        "id",
        "is_cancelled",
        "message",
        "method",
        "peer",
        "reply",
        "served",
        "size",
        "task",
    )

    def __init__(self, peer: "RpcPeer", message: RpcMessage, served: "ServedMethod") -> None:
        self.peer: RpcPeer = peer
        self.id: int = message.related_id
        self.method: str = message.method
        self.call_type: int = message.call_type
        self.message: RpcMessage | None = message
        """What has arrived, until it is run."""
        self.served: ServedMethod = served
        self.size: int = len(message.args)
        """How many bytes its arguments have."""
        self.reply: RpcMessage | None = None
        """The answer, once there is one."""
        self.is_cancelled: bool = False
        """Whether the other side, or the end of the peer, has stopped it; nothing is sent about it any more."""
        self.task: asyncio.Task[None] | None = None

    @property
    def definition(self) -> "MethodDefinition":
        """The method that is called."""
        return self.served.definition

    def answer_at_once(self) -> None:
        """Run a method that never suspends, and answer; there is nothing to cancel and nothing to come again."""
        try:
            values = self.served.decode(self.peer, self._take_message().args)
            result = self.peer.call_context.copy().run(_run_to_end, self.served, values)
            reply = None if self.definition.is_no_wait else self._ok(result)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            reply = self._error_answer(error)
        if reply is not None:
            self.peer.post(reply)

    def start(self) -> None:
        """Run the method in a task of its own, on behalf of nobody here; or later, if too many are running."""
        peer = self.peer
        peer.inbound.add(self)
        try:
            peer.admission.admit(self)
        except RpcOverloaded as error:
            peer.inbound.remove(self)
            peer.refuse(self._take_message(), error)

    def create_context(self) -> Context:
        """Return the context that the method runs in."""
        context = self.peer.call_context.copy()
        headers = () if self.message is None else self.message.headers
        if headers:
            context.run(set_headers, headers)
            context.run(set_trace, headers)
        return context

    def cancel(self) -> None:
        """Stop because nobody wants the result any more; no answer is sent."""
        self.is_cancelled = True
        self.peer.inbound.remove(self)
        if self.task is not None:
            self.task.cancel()
        else:
            self.peer.admission.forget(self)

    def repeat(self, stage: int) -> None:
        """Answer again: the other side doesn't have, or isn't sure to have, what was sent; `stage` is what it has."""
        if self.reply is not None and stage == CallStage.WAITING:
            self.peer.post(self.reply)

    async def run_method(self, context: InboundContext) -> Any:
        """Run the method and return its result; middleware stands around this, and may do it more than once."""
        return await self.served.call(context.arguments)

    def replied(self) -> None:
        """Be told that the answer is on its way; a regular call is over."""
        self.peer.inbound.remove(self)

    async def run(self) -> None:
        """Run the method and answer."""
        try:
            reply = await self._answer(self._take_message())
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

    async def _answer(self, message: RpcMessage) -> RpcMessage | None:
        peer = self.peer
        values = self.served.decode(peer, message.args)
        context = InboundContext(
            self.definition,
            values,
            headers=message.headers,
            peer=peer,
            request=peer.request,
            handler=self.run_method,
        )
        result = await peer.hub.invoke(context)
        return None if self.definition.is_no_wait or self.is_cancelled else self._ok(result)

    def _ok(self, result: Any) -> RpcMessage:
        return RpcMessage(OK, self.id, 0, self.peer.encode_result(self.definition, result))

    def _error_answer(self, error: BaseException) -> RpcMessage | None:
        if self.definition.is_no_wait:
            logger.error("%s failed, and nobody waits for it", self.definition.full_name, exc_info=error)
            return None
        codec = self.peer.format
        try:
            data = codec.encode_error(info_from_error(self.peer.hub.filter_error(error)))
        except RpcError as problem:
            # Its text is too long, or no text at all; the caller has to hear something.
            logger.error("an error of %s can't be sent", self.definition.full_name, exc_info=error)
            told = RpcError(f"{self.definition.full_name} failed with an error that can't be sent: {problem}")
            data = codec.encode_error(info_from_error(told))
        return RpcMessage(ERROR, self.id, 0, data)

    def _take_message(self) -> RpcMessage:
        # A call may be open for long after it was answered; what it came with is needed once.
        message, self.message = self.message, None
        assert message is not None  # noqa: S101  # calls are run once
        return message


def _run_to_end(served: "ServedMethod", values: Sequence[Any]) -> Any:
    coroutine: Any = served.call(values)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{served.definition.full_name} was taken for a method that never suspends, and did")
