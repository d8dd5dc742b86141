"""A call of the other side, from its arrival to its answer."""

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ._answers import error_answer, ok_answer
from ._call_context import InboundContext, set_headers
from ._errors import RpcOverloaded
from ._tracing import set_trace
from .protocol._calls import CallStage
from .protocol._content_hash import HASH_HEADER
from .protocol._message import RpcMessage

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
        "known_hash",
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
        self.known_hash: str | None = dict(message.headers).get(HASH_HEADER) if message.headers else None
        """The content hash of the result that the caller has from before, if it asks for hashes."""
        self.reply: RpcMessage | None = None
        """The answer, once there is one, if it may be asked for again."""
        self.is_cancelled: bool = False
        """Whether the other side, or the end of the peer, has stopped it; nothing is sent about it any more."""
        self.task: asyncio.Task[None] | None = None

    @property
    def definition(self) -> "MethodDefinition":
        """The method that is called."""
        return self.served.definition

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

    def make_up(self) -> None:
        """Tell what has happened during an outage; the other side hasn't asked, a while after the reconnect."""

    async def run_method(self, context: InboundContext) -> Any:
        """Run the method and return its result; middleware stands around this, and may do it more than once."""
        return await self.served.call(context.arguments)

    def keep(self, reply: RpcMessage, result: Any) -> None:
        """Keep the answer for `repeat`; `result` is what it tells, or None if it is an error."""
        self.reply = reply

    def replied(self) -> None:
        """Be told that the answer is on its way; a regular call is over."""
        self.peer.inbound.remove(self)

    async def run(self) -> None:
        """Run the method and answer."""
        peer, served = self.peer, self.served
        peer.admission.started(self)
        result: Any = None
        try:
            message = self._take_message()
            values = served.decode(peer, message.args)
            if self.call_type == 0 and peer.hub.inbound.is_empty:
                result = await served.call(values)
            else:
                context = InboundContext(
                    served.definition,
                    values,
                    headers=message.headers,
                    peer=peer,
                    request=peer.request,
                    handler=self.run_method,
                )
                result = await peer.hub.invoke(context)
            reply = None if self.is_cancelled else self._ok_answer(result)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Also what isn't an Exception, as a group with a cancellation in it: somebody waits for an answer.
            if isinstance(error, asyncio.CancelledError) and (self.is_cancelled or self.peer.is_closing):
                # A closing server says nothing, so that its clients ask the next one.
                self.peer.inbound.remove(self)
                raise
            reply, result = error_answer(peer, served.definition, self.id, error), None
        if self.is_cancelled:
            return
        if reply is None:
            peer.inbound.remove(self)
            return
        self.keep(reply, result)
        peer.post(reply)
        self.replied()

    def _ok_answer(self, result: Any) -> RpcMessage | None:
        return ok_answer(self.peer, self.definition, self.id, result, self.known_hash)

    def _take_message(self) -> RpcMessage:
        # A call may be open for long after it was answered; what it came with is needed once.
        message, self.message = self.message, None
        assert message is not None  # noqa: S101  # calls are run once
        return message
