"""One try to get a value from another process: a call, or several, if middleware makes it more than once."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, final

from refusion.rpc import (
    MethodDefinition,
    OutboundCall,
    OutboundContext,
    RpcCallCancelled,
    RpcHub,
    RpcPeer,
    RpcRerouted,
    RpcRoute,
)

from ._known_values import KnownValue
from ._outbound_compute_call import InvalidatedBeforeResult, OutboundComputeCall

__all__ = ["UNANSWERED", "Attempt"]

UNANSWERED: Final = (InvalidatedBeforeResult, RpcCallCancelled, RpcRerouted)
"""Errors of an attempt that are no answer: there may be one if it is made again."""


@final
class Attempt:
    """One call along one route, through outbound middleware.

    Of several calls that counts whose outcome was returned. The others are ended.
    """

    def __init__(
        self,
        hub: RpcHub,
        method: MethodDefinition,
        values: Sequence[Any],
        peer: RpcPeer,
        route: RpcRoute,
        *,
        started_at: float | None = None,
        known: KnownValue | None = None,
        may_fall_back: bool = False,
    ) -> None:
        """Prepare a call.

        Args:
            hub: Who makes it.
            method: What is called.
            values: One value per parameter.
            peer: Whom the route leads to.
            route: The route.
            started_at: Since when somebody waits, in clock time.
            known: What is known of the value from before; None if nothing is to be remembered.
            may_fall_back: Whether that will do if the connection breaks.
        """
        self._known = known
        self._may_fall_back = may_fall_back
        self._hub = hub
        self._calls: list[OutboundComputeCall] = []
        self._is_over = False
        self.call: OutboundComputeCall | None = None
        """The call that counts, once there is an outcome; None if middleware has answered in its place."""
        self._context = OutboundContext(
            method,
            values,
            peer,
            route=route,
            started_at=started_at,
            known_hash=None if known is None else known.hash,
            prepare=self._prepare,
        )

    @property
    def is_cut(self) -> bool:
        """Whether it has ended because the connection broke."""
        return self.call is not None and self.call.is_cut

    def has_brought(self, value: Any) -> bool:
        """Tell whether a value is what the server has said, and not what middleware has made of it."""
        return self.call is not None and self.call.has_ended_with(value)

    async def run(self) -> Any:
        """Return the value, or raise the error; the call stays open then, to be attached or released.

        Raises:
            RpcRerouted: If the route has changed.
            RpcCallCancelled: If the server has cancelled it.
            InvalidatedBeforeResult: If the value wasn't true any more when it came.
            Exception: What the method has raised, or why it couldn't be called.
        """
        try:
            value = await self._hub.outbound.run(self._context)
        except BaseException as error:
            # The caller may be cancelled by middleware, too, behind the answer.
            self._end(error, is_answer=isinstance(error, Exception) and not isinstance(error, UNANSWERED))
            raise
        self._end(value, is_answer=True)
        return value

    def release(self) -> None:
        """End the call on both sides: nobody is interested in its answer."""
        if self.call is not None:
            self.call.release()

    def _prepare(self, call: OutboundCall) -> None:
        assert isinstance(call, OutboundComputeCall)  # noqa: S101  # the kind of the method
        if self._known is not None:
            call.expect(self._known, may_fall_back=self._may_fall_back)
        if self._is_over:
            call.future.add_done_callback(partial(_cancel, call))
        else:
            self._calls.append(call)

    def _end(self, outcome: object, *, is_answer: bool) -> None:
        self._is_over = True
        calls, self._calls = self._calls, []
        if is_answer and calls:
            self.call = _counting(calls, outcome)
        for call in calls:
            if call is self.call:
                continue
            if call.future.done() or not is_answer:
                call.cancel()
            else:
                # Middleware has left it to itself, and may still want to know.
                call.future.add_done_callback(partial(_cancel, call))


def _counting(calls: list[OutboundComputeCall], outcome: object) -> OutboundComputeCall:
    """Return the last call with this outcome; if middleware has made that itself, it was hardly of one that is over."""
    for call in reversed(calls):
        if call.has_ended_with(outcome):
            return call
    return max(reversed(calls), key=lambda call: (call.is_open, call.is_answered))


def _cancel(call: OutboundCall, _: object) -> None:
    call.cancel()
