"""One try to get a value from another process."""

from collections.abc import Sequence
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
from refusion.rpc.protocol._content_hash import HASH_HEADER

from ._known_values import KnownValue
from ._outbound_compute_call import InvalidatedBeforeResult, OutboundComputeCall

__all__ = ["UNANSWERED", "Attempt"]

UNANSWERED: Final = (InvalidatedBeforeResult, RpcCallCancelled, RpcRerouted)
"""Errors of an attempt that are no answer: there may be one if it is made again."""


@final
class Attempt:
    """One call along one route, through outbound middleware."""

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
        self._context = OutboundContext(
            method,
            values,
            peer,
            route=route,
            started_at=started_at,
            prepare=None if known is None else self._prepare,
        )
        if known is not None:
            self._context.headers[HASH_HEADER] = known.hash

    @property
    def call(self) -> OutboundComputeCall | None:
        """The call that was made; None if middleware has answered in its place."""
        call = self._context.call
        return call if isinstance(call, OutboundComputeCall) else None

    @property
    def is_cut(self) -> bool:
        """Whether it has ended because the connection broke."""
        return self.call is not None and self.call.is_cut

    def has_brought(self, value: Any) -> bool:
        """Tell whether a value is what the server has said, and not what middleware has made of it."""
        return self.call is not None and self.call.has_value and self.call.value is value

    async def run(self) -> Any:
        """Return the value, or raise the error; the call stays open then, to be attached or released.

        Raises:
            RpcRerouted: If the route has changed.
            RpcCallCancelled: If the server has cancelled it.
            InvalidatedBeforeResult: If the value wasn't true any more when it came.
            Exception: What the method has raised, or why it couldn't be called.
        """
        try:
            return await self._hub.outbound.run(self._context)
        except BaseException as error:
            if isinstance(error, UNANSWERED) or not isinstance(error, Exception):
                # The caller may be cancelled by middleware, too, behind the answer.
                self._cancel()
            raise

    def release(self) -> None:
        """End the call on both sides: nobody is interested in its answer."""
        if self.call is not None:
            self.call.release()

    def _cancel(self) -> None:
        if self._context.call is not None:
            self._context.call.cancel()

    def _prepare(self, call: OutboundCall) -> None:
        if self._known is not None and isinstance(call, OutboundComputeCall):
            call.expect(self._known, may_fall_back=self._may_fall_back)
