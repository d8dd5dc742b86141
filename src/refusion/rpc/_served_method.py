"""A method of a service, as calls of it are taken and answered."""

import dis
import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, final

from refusion._base._logging import logger

from ._answers import answer_at_once
from ._call_context import InboundContext
from ._contract import MethodDefinition
from ._errors import RpcArgumentError, RpcError, RpcOverloaded
from ._gateways import PASSED_ON, circle_error, goes_in_circle
from .protocol._calls import CallStage
from .protocol._message import RpcMessage

if TYPE_CHECKING:
    from ._hub import RpcHub
    from ._peer import RpcPeer

__all__ = ["ServedMethod"]


@final
class ServedMethod:
    """One method of an implementation."""

    __slots__ = ("_hub", "_immediate", "definition", "implementation")

    def __init__(self, hub: "RpcHub", definition: MethodDefinition, implementation: Any) -> None:
        self._hub = hub
        self.definition: MethodDefinition = definition
        self.implementation: Any = implementation
        function = getattr(implementation, definition.name)
        is_immediate = definition.kind == 0 and not definition.needs_task and never_suspends(function)
        self._immediate = function.__func__ if is_immediate else None

    @property
    def is_immediate(self) -> bool:
        """Whether a call has its result at once, so that it is answered without a task."""
        if self._immediate is None:
            return False
        # Somebody may have put another method in its place since, as tests do.
        try:
            function = getattr(self.implementation, self.definition.name)
        except Exception:
            # It will be raised again in the task of the call, and be the answer.
            return False
        return getattr(function, "__func__", None) is self._immediate

    def call(self, values: Sequence[Any]) -> Any:
        """Call the method with one value per parameter; returns what has to be awaited."""
        return self.definition.call(self.implementation, values)

    def decode(self, peer: "RpcPeer", data: bytes) -> Sequence[Any]:
        """Return one value per parameter.

        Raises:
            RpcArgumentError: If one doesn't fit its type; names the parameter.
        """
        definition = self.definition
        codec = definition.codecs[peer.format].arguments
        try:
            return peer.decode(codec, data, has_streams=definition.has_argument_streams)
        except RpcArgumentError as error:
            raise definition.describe_misfit(error) from None

    async def invoke(self, context: InboundContext) -> Any:
        """Return what the method returns for `context.arguments`, without middleware."""
        handler = context._handler
        return await (self.call(context.arguments) if handler is None else handler(context))

    def receive(self, peer: "RpcPeer", message: RpcMessage) -> None:
        """Take a call of a peer; one that came before isn't run again."""
        known = peer.inbound.get(message.related_id)
        if known is not None:
            if known.method == message.method and known.call_type == message.call_type:
                known.repeat(CallStage.WAITING)
            else:
                logger.warning("%r: call %d came again as %s; dropped", peer, message.related_id, message.method)
            return
        if not peer.takes_calls:
            return
        if self.definition.passed_on_to is not None and goes_in_circle(self.definition.passed_on_to, peer, message):
            peer.refuse(message, circle_error(self.definition, peer))
            return
        kind = self._hub.table.kinds.get(message.call_type)
        if kind is None or message.call_type not in (0, self.definition.kind):
            peer.refuse(message, RpcError(f"Invalid CallTypeId: {message.call_type}."))
            return
        if message.call_type != 0 and len(peer.inbound) >= peer.limits.max_open_calls:
            peer.refuse(message, RpcOverloaded(f"{len(peer.inbound):,} calls of this peer are open; end some of them"))
            return
        is_next = peer.admission.unstarted_count == 0
        is_bare = not message.headers or message.headers == (PASSED_ON,)
        if is_next and self.is_immediate and is_bare and self._hub.inbound.is_empty:
            answer_at_once(peer, self, message)
        else:
            kind.inbound_class(peer, message, self).start()


def never_suspends(function: Callable[..., Any]) -> bool:
    """Tell whether a method is a plain coroutine function without an `await`: its first step is its last.

    Nothing that it does can tell whether it has a task of its own, short of asking for the current task.
    """
    if not isinstance(function, MethodType) or not isinstance(function.__func__, FunctionType):
        return False
    code = function.__func__.__code__
    return bool(code.co_flags & inspect.CO_COROUTINE) and not _has_await(code)


@lru_cache(maxsize=4_096)
def _has_await(code: CodeType) -> bool:
    return any(instruction.opname in ("SEND", "YIELD_VALUE") for instruction in dis.get_instructions(code))
