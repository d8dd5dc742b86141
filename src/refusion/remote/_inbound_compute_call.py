"""A compute call of the other side, which is answered and then kept until its answer isn't true any more."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast, final

from refusion._base._clock import current_clock
from refusion.compute import ComputationCancelled, Computed
from refusion.rpc import InboundCall, InboundContext, RpcPeer, ServedMethod
from refusion.rpc._answers import error_answer, hashed_answer
from refusion.rpc.protocol import CallStage, RpcMessage
from refusion.rpc.protocol._system_calls import INVALIDATE, OK

from ._outbound_compute_call import COMPUTE_CALL_TYPE

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["InboundComputeCall"]


@final
class InboundComputeCall(InboundCall):
    """A compute call of the other side, with the computed that answers it."""

    __slots__ = ("_computed", "_is_answered", "_is_over", "_unsubscribe")

    def __init__(self, peer: RpcPeer, message: RpcMessage, served: ServedMethod) -> None:
        super().__init__(peer, message, served)
        self._computed: Computed[Any] | None = None
        self._unsubscribe: Callable[[], object] | None = None
        self._is_answered = False
        self._is_over = False

    def start(self) -> None:
        if not self._answer_with_hit():
            super().start()

    async def run_method(self, context: InboundContext) -> Any:
        if self.call_type != COMPUTE_CALL_TYPE:
            return await super().run_method(context)
        # Only the method: what middleware computes for itself isn't what the call is about.
        call: Callable[[], Any] = partial(self.served.call, context.arguments)
        computed: Computed[Any] = await Computed[Any].capture(call)
        if isinstance(computed.error, ComputationCancelled):
            # Not a result: the caller asks again.
            raise asyncio.CancelledError(str(computed.error))
        self._computed = computed
        return computed.value

    def keep(self, reply: RpcMessage, result: Any) -> None:
        computed = self._computed
        if computed is not None and not computed.has_error and result is computed.value:
            # The call is open for as long as the value is true, and there may be many of them for one value.
            self._is_answered = True
        else:
            super().keep(reply, result)

    def replied(self) -> None:
        if self.call_type != COMPUTE_CALL_TYPE:
            super().replied()
        elif self._computed is None:
            # It failed before anything was computed, so nothing will ever tell that this has changed.
            clock = current_clock()
            self._unsubscribe = clock.call_at(clock.now() + _TICK, self._post_invalidation).cancel
        else:
            self._unsubscribe = self._computed.on_invalidated(self._computed_invalidated)

    def repeat(self, stage: int) -> None:
        if self._is_answered and self._computed is not None and stage == CallStage.WAITING:
            self._repeat_answer(self._computed.value)
        else:
            super().repeat(stage)
        if self._is_over:
            self._post_invalidation()

    def make_up(self) -> None:
        if self._is_over:
            # Whether the answer has arrived isn't known either.
            self.repeat(CallStage.WAITING)

    def cancel(self) -> None:
        super().cancel()
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._computed = None

    def _ok_answer(self, result: Any) -> RpcMessage | None:
        computed = self._computed
        if computed is None or computed.has_error or result is not computed.value:
            return super()._ok_answer(result)
        hub = cast("FusionHub", self.peer.hub)
        value = hub.encoded_values.get(self.peer, self.definition, computed)
        if self.known_hash is None:
            return RpcMessage(OK, self.id, 0, value.data)
        return hashed_answer(self.id, value.data, value.hash, self.known_hash)

    def _repeat_answer(self, value: Any) -> None:
        try:
            reply = self._ok_answer(value)
        except Exception as error:
            # It was written before, and somebody may have changed it since.
            reply = error_answer(self.peer, self.definition, self.id, error)
        if reply is not None:
            self.peer.post(reply)

    def _answer_with_hit(self) -> bool:
        """Answer with a value that is known and true, if there is one and nothing stands around the method."""
        peer, message = self.peer, self.message
        if self.call_type != COMPUTE_CALL_TYPE or message is None or not peer.hub.inbound.is_empty:
            return False
        try:
            method = getattr(self.served.implementation, self.definition.name)
            existing: Callable[..., Computed[Any] | None] | None = getattr(method, "existing", None)
            if existing is None:
                return False
            computed = self.definition.apply(existing, self.served.decode(peer, message.args))
            if computed is None or not computed.is_consistent or computed.has_error:
                return False
            self._computed = computed
            reply = self._ok_answer(computed.value)
        except Exception:
            # It will be raised again in the task of the call, and be the answer.
            self._computed = None
            return False
        assert reply is not None  # noqa: S101  # somebody waits for each compute call
        self.message = None
        self.keep(reply, computed.value)
        peer.inbound.add(self)
        peer.post(reply)
        self.replied()
        return True

    def _computed_invalidated(self, _: object) -> None:
        # Called in the thread that invalidates. Going through the loop also puts it behind the answer.
        loop = self.peer.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._post_invalidation)

    def _post_invalidation(self) -> None:
        if self.is_cancelled:
            return
        self._is_over = True
        if self.peer.is_connected:
            self._computed = None
            self.peer.inbound.remove(self)
            self.peer.post(RpcMessage(INVALIDATE, self.id))
        # Else it stays, with its answer, and the caller is told when it asks about the call on its next connection.


_TICK: Final = 0.015
"""How long after an answer without a computed its invalidation follows, in seconds: one tick, as in the reference."""
