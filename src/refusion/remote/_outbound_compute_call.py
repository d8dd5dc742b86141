"""A compute call that this side has made: how it ends, and how a replica stands and falls with it."""

import weakref
from collections.abc import Sequence
from typing import Any, Final, final

from refusion.compute import Computed, InvalidationSource
from refusion.rpc import MethodDefinition, OutboundCall, RpcDisconnected, RpcPeer
from refusion.rpc.protocol import CallStage, Headers, RpcMessage
from refusion.rpc.protocol._content_hash import HASH_HEADER, content_hash

from ._known_values import KnownValue
from .caches import CachedValue

__all__ = ["COMPUTE_CALL_TYPE", "InvalidatedBeforeResult", "OutboundComputeCall"]

COMPUTE_CALL_TYPE: Final = 1


class InvalidatedBeforeResult(Exception):
    """Ends a call whose result stopped being true before it came; the call is made again."""


@final
class OutboundComputeCall(OutboundCall):
    """A compute call that this side has made, and the replica that was made of its result."""

    __slots__ = ("_replica", "answer", "is_answered", "is_cut", "is_invalidated", "known", "may_fall_back")

    call_type = COMPUTE_CALL_TYPE

    def __init__(self, peer: RpcPeer, method: MethodDefinition, values: Sequence[Any], headers: Headers = ()) -> None:
        super().__init__(peer, method, values, headers)
        self.is_invalidated = False
        """Whether the result is known to be stale."""
        self.is_answered = False
        """Whether the outcome is what the other side has said."""
        self.known: KnownValue | None = None
        """What is known of the result from before; None if that isn't of interest."""
        self.answer: CachedValue | None = None
        """The result as it came, if that is of interest; None if the other side has matched what is known."""
        self.may_fall_back = False
        """Whether its caller has something to show in place of the result, and won't wait for another connection."""
        self.is_cut = False
        """Whether it has ended because the connection broke."""
        self._replica: weakref.ref[Computed[Any]] | None = None

    def expect(self, known: KnownValue, *, may_fall_back: bool) -> None:
        """Say what is known of the result, and whether that will do if the connection breaks before there is one."""
        self.known = known
        self.may_fall_back = may_fall_back
        if may_fall_back and self.stage is CallStage.WAITING:
            self.may_reconnect = False
            if not self.is_sent and not self.peer.is_connected:
                # The connection was lost while middleware did something else.
                self.fail(RpcDisconnected(f"{self.method.full_name} wasn't called: there is no link"))

    @property
    def awaits_connection(self) -> bool:
        return not self.may_fall_back

    @property
    def is_open(self) -> bool:
        """Whether the other side may have more to say about it."""
        return self.peer.outbound.get(self.id) is self

    # The answer

    @property
    def has_value(self) -> bool:
        """Whether it has a result, and that is a value."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    @property
    def value(self) -> Any:
        """The value, as the other side has it."""
        return self.future.result()

    def has_ended_with(self, outcome: object) -> bool:
        """Tell whether this very value, or error, is its result."""
        if not self.future.done() or self.future.cancelled():
            return False
        return (self.value if self.has_value else self.future.exception()) is outcome

    def succeeded(self, message: RpcMessage) -> None:
        if self.future.done():
            # It has come again.
            return
        self.is_answered = True
        if self.known is not None:
            self.answer = CachedValue(
                message.args, dict(message.headers).get(HASH_HEADER) or content_hash(message.args)
            )
        super().succeeded(message)

    def failed(self, message: RpcMessage) -> None:
        self.is_answered = True
        super().failed(message)

    def matched(self) -> None:
        if self.known is None or not self.known.hash:
            super().matched()
        else:
            self.is_answered = True
            self.end(None, self.known.value)

    def end(self, error: Exception | None, value: Any = None) -> None:
        if self.peer.is_closing:
            super().end(error, value)
            self._invalidate()
            return
        # The call stays open, over any connection: an error is a result that may stop being true, too.
        self.stage = CallStage.RESULT_READY
        self.may_reconnect = True
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
        if self.may_fall_back and isinstance(error, RpcDisconnected):
            self.is_cut = True
            # The other side may keep it open, and its result for nobody.
            self._abandon()
        super().end(error)

    # The replica

    def attach(self, replica: Computed[Any]) -> None:
        """Tie the call to the computed that its result is the value of.

        The replica is invalidated with the call, and the call is released with the replica: when it is
        invalidated for another reason, or collected. Middleware may have put something in the place of a result that
        is still to come: that is true until there is one.
        """
        self._replica = weakref.ref(replica, self._release_soon)
        replica.on_invalidated(self._release_soon)
        if not self.future.done():
            self.future.add_done_callback(self._overtaken)
            return
        # What it was made with isn't needed any more, and there may be as many calls as replicas.
        self.known = self.answer = self._args = None
        self._values = self.headers = ()
        if self.is_invalidated:
            self._invalidate()

    def release(self) -> None:
        """Tell the other side, once, that nobody is interested any more."""
        self._abandon()

    def _overtaken(self, _: object) -> None:
        replica = None if self._replica is None else self._replica()
        if replica is not None:
            replica.invalidate(immediately=True, source=_ANSWERED)

    def _release_soon(self, _: object) -> None:
        # A replica may be invalidated in any thread, and collected at any time, also when the loop is closed; if it
        # was invalidated by this call, then there is nothing to release.
        loop = self.peer.loop
        if not self.is_invalidated and not loop.is_closed():
            loop.call_soon_threadsafe(self.release)

    def _invalidate(self) -> None:
        self.is_invalidated = True
        self.settle(InvalidatedBeforeResult())
        replica = None if self._replica is None else self._replica()
        if replica is not None:
            replica.invalidate(immediately=True, source=_PUSHED)


_ANSWERED = InvalidationSource("the server has answered after all")
_PUSHED = InvalidationSource("the server has invalidated it")
