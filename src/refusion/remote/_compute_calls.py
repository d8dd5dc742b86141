"""Compute calls on the wire: calls that stay open after their result, until it stops being true.

The callee keeps the computed behind its answer and sends `$sys-c.Invalidate` when that is invalidated. The
caller keeps the call until then, or until it no longer wants to know. An invalidation that falls into an
outage is remembered: on the next connection the caller asks about the call, and the callee tells.
"""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

from refusion._base._clock import current_clock
from refusion.compute import ComputationCancelled, Computed, InvalidationSource
from refusion.rpc import (
    InboundCall,
    InboundContext,
    MethodDefinition,
    OutboundCall,
    RpcCallKind,
    RpcPeer,
    ServedMethod,
)
from refusion.rpc._answers import error_answer, ok_answer
from refusion.rpc.protocol import CallStage, Headers, RpcMessage
from refusion.rpc.protocol._system_calls import INVALIDATE

__all__ = ["COMPUTE_CALL_TYPE", "ComputeCallKind", "InvalidatedBeforeResult", "OutboundComputeCall"]

COMPUTE_CALL_TYPE = 1


class InvalidatedBeforeResult(Exception):
    """Ends a call whose result stopped being true before it came; the call is made again."""


@final
class OutboundComputeCall(OutboundCall):
    """A compute call that this side has made, and the replica that was made of its result."""

    __slots__ = ("_replica", "is_invalidated")

    call_type = COMPUTE_CALL_TYPE

    def __init__(self, peer: RpcPeer, method: MethodDefinition, values: Sequence[Any], headers: Headers = ()) -> None:
        super().__init__(peer, method, values, headers)
        self.is_invalidated = False
        """Whether the result is known to be stale."""
        self._replica: weakref.ref[Computed[Any]] | None = None

    def end(self, error: Exception | None, value: Any = None) -> None:
        if self.peer.is_closing:
            super().end(error, value)
            self._invalidate()
            return
        # The call stays open: an error is a result that may stop being true, too.
        self.stage = CallStage.RESULT_READY
        self.settle(error, value)

    def invalidated(self) -> None:
        """Be told by the other side that the result isn't true any more, which ends the call."""
        self.peer.outbound.remove(self.id)
        self._invalidate()

    def peer_forgot(self) -> None:
        self.invalidated()

    def delayed(self) -> None:
        # The same call isn't run twice; if only its answer got stuck, that comes again.
        self.peer.send_first([self])

    def fail(self, error: Exception) -> None:
        """End the call without a result."""
        super().end(error)

    def attach(self, replica: Computed[Any]) -> None:
        """Tie the call to the computed that its result is the value of.

        The replica is invalidated with the call, and the call is released with the replica: when it is
        invalidated for another reason, or collected.
        """
        loop = self.peer.loop

        def collected(_: object) -> None:
            # May run in any thread, at any time, also when the loop is closed.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.release)

        self._replica = weakref.ref(replica, collected)
        replica.on_invalidated(lambda _: self._release_soon())
        if self.is_invalidated:
            self._invalidate()

    def release(self) -> None:
        """Tell the other side, once, that nobody is interested any more."""
        if self.peer.outbound.remove(self.id) is not None and self.is_sent:
            self.peer.cancellations.say(self.id)

    def _release_soon(self) -> None:
        # A replica may be invalidated in any thread; if by this call, then there is nothing to release.
        loop = self.peer.loop
        if not self.is_invalidated and not loop.is_closed():
            loop.call_soon_threadsafe(self.release)

    def _invalidate(self) -> None:
        self.is_invalidated = True
        self.settle(InvalidatedBeforeResult())
        replica = None if self._replica is None else self._replica()
        if replica is not None:
            replica.invalidate(immediately=True, source=_PUSHED)


_PUSHED = InvalidationSource("the server has invalidated it")


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

    def _repeat_answer(self, value: Any) -> None:
        try:
            reply = ok_answer(self.peer, self.definition, self.id, value)
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
            reply = ok_answer(peer, self.definition, self.id, computed.value)
        except Exception:
            # It will be raised again in the task of the call, and be the answer.
            return False
        if reply is None:
            return False
        self.message = None
        self._computed = computed
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


_TICK = 0.015
"""How long after an answer without a computed its invalidation follows, in seconds: one tick, as in the reference."""


@final
class ComputeCallKind(RpcCallKind):
    """Compute calls, call type 1."""

    call_type = COMPUTE_CALL_TYPE
    outbound_class = OutboundComputeCall
    inbound_class = InboundComputeCall

    def system_methods(self) -> dict[str, Any]:
        return {INVALIDATE: _on_invalidate}


def _on_invalidate(peer: RpcPeer, message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if isinstance(call, OutboundComputeCall):
        call.invalidated()
