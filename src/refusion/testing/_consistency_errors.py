"""What `eventually_consistent` raises.

ConsistencyError   (AssertionError)
 ├ StaleReplica    a client goes on with a value that isn't true
 ├ HungCalls       calls that never end
 └ TooManyCalls    more was called, fetched or computed than there were reasons for
"""

from refusion._base._result import Result
from refusion.errors import RefusionError

from ._scenario import ComputeCall

__all__ = ["ConsistencyError", "HungCalls", "StaleReplica", "TooManyCalls"]


class ConsistencyError(RefusionError, AssertionError):
    """The base class of what `eventually_consistent` finds; tells how to run the same again."""

    repeat: str
    """The call that has found it."""


class StaleReplica(ConsistencyError):
    """Raised when a client still has an old value when the time to hear of the new one is up."""

    def __init__(
        self,
        client: int,
        call: ComputeCall,
        where: str,
        value: Result[object],
        truth: Result[object],
        computed: str,
        seconds: float,
        repeat: str,
    ) -> None:
        super().__init__(client, call, where, value, truth, computed, seconds, repeat)
        self.client: int = client
        """Which client, counted from 0."""
        self.call: ComputeCall = call
        """What is wrong."""
        self.where: str = where
        """Who has the value: a replica, a computed on top of it, a state."""
        self.value: Result[object] = value
        """What the client has."""
        self.truth: Result[object] = truth
        """What it should have."""
        self.computed: str = computed
        """The computed that has the value, as text."""
        self.seconds: float = seconds
        """How long the client had to hear of the truth."""
        self.repeat: str = repeat

    def __str__(self) -> str:
        return (
            f"client {self.client}: {self.where} says {self.call} is {_text(self.value)}, but {self.seconds:g} s after "
            f"the last edit it should be {_text(self.truth)}\n  computed: {self.computed}\n  repeat: {self.repeat}"
        )


class HungCalls(ConsistencyError):
    """Raised when calls don't end although the server is there and the network well."""

    def __init__(self, calls: tuple[str, ...], seconds: float, repeat: str) -> None:
        super().__init__(calls, seconds, repeat)
        self.calls: tuple[str, ...] = calls
        """Each with its client."""
        self.seconds: float = seconds
        """How long they had to end."""
        self.repeat: str = repeat

    def __str__(self) -> str:
        shown = "\n  ".join(self.calls[:_SHOWN])
        others = f"\n  and {len(self.calls) - _SHOWN:,} others" if len(self.calls) > _SHOWN else ""
        return (
            f"{len(self.calls):,} calls hang, {self.seconds:g} s after all is well again:\n  {shown}{others}\n"
            f"  repeat: {self.repeat}"
        )


class TooManyCalls(ConsistencyError):
    """Raised when something was done more often than invalidations, cuts and restarts explain."""

    def __init__(self, what: str, count: int, bound: int, repeat: str) -> None:
        super().__init__(what, count, bound, repeat)
        self.what: str = what
        """What was done."""
        self.count: int = count
        """How often it was done."""
        self.bound: int = bound
        """How often there was a reason to."""
        self.repeat: str = repeat

    def __str__(self) -> str:
        return f"{self.count:,} {self.what}, but there were reasons for {self.bound:,} at most\n  repeat: {self.repeat}"


_SHOWN = 10


def _text(outcome: Result[object]) -> str:
    return repr(outcome.value_or_none) if outcome.error is None else f"the error {outcome.error!r}"
