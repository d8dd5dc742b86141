"""A call whose result is known from before, or will be."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, final

from refusion.compute import Computed
from refusion.rpc import MethodDefinition, RpcClientPeer, RpcRoute

from ._attempt import Attempt
from ._known_values import KnownValue, KnownValues
from ._route_following import follow

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["CachedCall"]


@final
class CachedCall:
    """Keeps what is known of one call, and what is shown of it, in step with what its server says."""

    def __init__(
        self,
        hub: "FusionHub",
        known_values: KnownValues,
        method: MethodDefinition,
        values: Sequence[Any],
        peer: RpcClientPeer,
        route: RpcRoute,
    ) -> None:
        self._hub = hub
        self._known_values = known_values
        self._key = known_values.key(peer, route, method, values)
        self.method: MethodDefinition = method
        self.values: Sequence[Any] = values
        """One value per parameter."""
        self.peer: RpcClientPeer = peer
        """Who is asked."""
        self.route: RpcRoute = route
        """Along which route."""

    # What is known

    @property
    def stale(self) -> KnownValue | None:
        """The value that was invalidated since it came, until there is another one."""
        return self._known_values.stale(self._key)

    async def find(self) -> KnownValue | None:
        """Return the value that the cache has."""
        return await self._known_values.find(self._key, self.method, self.peer)

    # What is shown

    def show(self, replica: Computed[Any], known: KnownValue) -> None:
        """Note that a replica has a value that its server has still to confirm."""
        self._hub.synchronizations.begin(replica, self.peer)
        self._tie(replica, known)

    def show_stale(self, replica: Computed[Any], known: KnownValue) -> None:
        """Note that a replica has a value that isn't true any more, because its server can't be asked."""
        self.show(replica, known)
        self._hub.stale_replicas.add(replica, self.peer)

    # What the server says

    def attempt(self, known: KnownValue, *, may_fall_back: bool, started_at: float | None = None) -> Attempt:
        """Return a call that asks the server whether it has another value."""
        return Attempt(
            self._hub,
            self.method,
            self.values,
            self.peer,
            self.route,
            started_at=started_at,
            known=known,
            may_fall_back=may_fall_back,
        )

    def learn(self, attempt: Attempt, known: KnownValue, value: Any) -> KnownValue:
        """Take the value that an attempt has brought, and return what is known from then on.

        That is what the server has said: middleware that makes something else of it does so with each answer.
        """
        call = attempt.call
        if call is None or not call.has_value:
            # What middleware has put in the place of an answer isn't for the cache.
            self.learn_error(attempt)
            return KnownValue("", value)
        answer = call.answer
        if answer is None or answer.hash == known.hash:
            self._known_values.confirm(self._key)
            return known
        self._known_values.learn(self._key, answer)
        return KnownValue(answer.hash, call.value)

    def learn_error(self, attempt: Attempt) -> bool:
        """Take the error that an attempt has brought; returns False if the server hasn't said anything."""
        call = attempt.call
        if call is None or not call.is_answered:
            return False
        self._known_values.learn_error(self._key)
        return True

    def synchronize(self, replica: Computed[Any], attempt: Attempt, known: KnownValue | None) -> None:
        """Let a new replica stand and fall with the answer to an attempt, which is a value or, if None, an error."""
        self._tie(replica, known)
        self.confirm(replica, attempt)

    def replace(self, successor: Computed[Any], attempt: Attempt, known: KnownValue | None) -> None:
        """Do the same with a replica that has just taken the place of one whose value isn't true."""
        # By its invalidation that has become what was known last.
        self._known_values.confirm(self._key)
        self.synchronize(successor, attempt, known)

    def confirm(self, replica: Computed[Any], attempt: Attempt) -> None:
        """Let a replica stand and fall with the answer to an attempt, by which it is what it shows already."""
        if attempt.call is not None:
            attempt.call.attach(replica)
        self._hub.synchronizations.end(replica)

    def _tie(self, replica: Computed[Any], known: KnownValue | None) -> None:
        if known is not None:
            replica.on_invalidated(partial(self._known_values.mark_stale, self._key, known))
        follow(self.route, replica)
