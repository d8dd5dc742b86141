"""How a compute method keeps, drops and retries its results."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final

from refusion._base._retries import RetryDelays

__all__ = ["CancellationRetries", "ComputedOptions", "ResolvedOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationRetries:
    """What happens when a body ends with a cancellation that its caller didn't ask for."""

    max_retries: int = 10
    """How many times the body is run again; 0 gives up at once."""

    max_duration: float = 2.0
    """No retry starts later than this many seconds after the first try."""

    delays: RetryDelays = field(default_factory=lambda: RetryDelays(0.05, 1.0))
    """The pauses between the tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedOptions:
    """Options of a compute method or state; times are seconds, None inherits the default, `math.inf` is never.

    Raises:
        ValueError: If a time is negative or NaN.
        TypeError: If a time isn't a number, or there is a comparer without a consolidation delay.
    """

    keep_alive: float | None = None
    """How long a result that nobody holds stays cached after its last use (default 10)."""

    min_cache_duration: float | None = None
    """How long a result is held after its last use, in addition to `keep_alive` (default 0)."""

    transient_error_invalidation_delay: float | None = None
    """How long a transient error is cached (default 1)."""

    non_transient_error_invalidation_delay: float | None = None
    """How long any other error is cached (default 30)."""

    auto_invalidation_delay: float | None = None
    """After how long a result is invalidated by itself (default never)."""

    invalidation_delay: float | None = None
    """How long an invalidation that isn't immediate is held back, from the first request on (default 0)."""

    consolidation_delay: float | None = None
    """How long after an invalidation to recompute, and tell dependants only if the output differs (default never)."""

    consolidation_comparer: Callable[[Any, Any], bool] | None = None
    """Decides whether two values are the same for consolidation (default: same type and equal)."""

    cancellation_retries: CancellationRetries | None = None
    """What to do about cancellations that no caller asked for."""

    client_cache: bool | None = None
    """Whether a client keeps what it was told in the cache of its hub, if that has one (default yes)."""

    default: ClassVar["ComputedOptions"]
    """The process-wide defaults; replace it before compute methods are first used."""

    client_default: ClassVar["ComputedOptions"]
    """The defaults of clients, whose compute methods ask other processes; replace it before clients are made."""

    def __post_init__(self) -> None:
        for name in _TIMES:
            _check_time(name, getattr(self, name))

    def merged(self, base: "ComputedOptions") -> "ComputedOptions":
        """Return these options with each None replaced by the value of `base`."""
        missing = {f.name: getattr(base, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **missing)

    def resolve(self) -> "ResolvedOptions":
        """Return plain values, with the process-wide defaults and the library's own filled in."""
        merged = self.merged(ComputedOptions.default).merged(_LIBRARY_DEFAULTS)
        if merged.consolidation_comparer is not None and merged.consolidation_delay == math.inf:
            raise TypeError("consolidation_comparer needs a consolidation_delay (0 consolidates at once)")
        return ResolvedOptions(**{f.name: getattr(merged, f.name) for f in fields(merged)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedOptions:
    """`ComputedOptions` with every value known; see there for the meaning of the fields."""

    keep_alive: float
    min_cache_duration: float
    transient_error_invalidation_delay: float
    non_transient_error_invalidation_delay: float
    auto_invalidation_delay: float
    invalidation_delay: float
    consolidation_delay: float
    consolidation_comparer: Callable[[Any, Any], bool] | None
    cancellation_retries: CancellationRetries
    client_cache: bool

    @property
    def hold_duration(self) -> float:
        """How long a result is held after its last use."""
        return max(self.keep_alive, self.min_cache_duration)

    @property
    def must_consolidate(self) -> bool:
        """Whether results are compared before their dependants hear of a change."""
        return self.consolidation_delay != math.inf


_TIMES: Final = tuple(f.name for f in fields(ComputedOptions) if f.name.endswith(("_alive", "_duration", "_delay")))


def _check_time(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must be zero or more seconds (math.inf for never, None to inherit), not {value}")


_LIBRARY_DEFAULTS: Final = ComputedOptions(
    keep_alive=10.0,
    min_cache_duration=0.0,
    transient_error_invalidation_delay=1.0,
    non_transient_error_invalidation_delay=30.0,
    auto_invalidation_delay=math.inf,
    invalidation_delay=0.0,
    consolidation_delay=math.inf,
    cancellation_retries=CancellationRetries(),
    client_cache=True,
)

ComputedOptions.default = ComputedOptions()
# To forget a replica costs two messages and a call. A server that has cancelled a call twice has its reasons.
ComputedOptions.client_default = ComputedOptions(
    min_cache_duration=60.0, cancellation_retries=CancellationRetries(max_retries=2, max_duration=5.0)
)
