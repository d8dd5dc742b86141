"""Why a computed was invalidated.

The first reason that was given stays. What is recorded depends on the tracking mode: by default each
dependant carries the origin, the place in the program (or the named reason) where the cascade began.
"""

import sys
from collections.abc import Iterator
from enum import Enum
from types import CodeType
from typing import TYPE_CHECKING, ClassVar, final

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = [
    "InvalidationSource",
    "InvalidationTracking",
    "caller_source",
    "invalidation_tracking",
    "set_invalidation_tracking",
]


class InvalidationTracking(Enum):
    """How much is recorded about the reason of an invalidation."""

    NONE = "none"
    """Nothing: every source is `InvalidationSource.UNKNOWN`. The cheapest mode."""

    ORIGIN_ONLY = "origin-only"
    """The origin of the cascade, at every computed that it reaches. The default."""

    WHOLE_CHAIN = "whole-chain"
    """The dependency through which it came. Keeps the whole chain in memory; for diagnostics."""


@final
class InvalidationSource:
    """A reason for an invalidation: a named one, a place in the code, or the dependency it came through."""

    __slots__ = ("_code", "_instruction", "_reason", "dependency")

    UNKNOWN: ClassVar["InvalidationSource"]
    CANCELLATION: ClassVar["InvalidationSource"]
    INITIAL_STATE: ClassVar["InvalidationSource"]
    REPLACED: ClassVar["InvalidationSource"]
    MUTABLE_STATE_SET: ClassVar["InvalidationSource"]
    RECOMPUTE: ClassVar["InvalidationSource"]
    AUTO_INVALIDATION: ClassVar["InvalidationSource"]
    ERROR_EXPIRED: ClassVar["InvalidationSource"]
    EVERYTHING: ClassVar["InvalidationSource"]
    CONSOLIDATION: ClassVar["InvalidationSource"]

    def __init__(self, reason: str | None = None, *, dependency: "Computed[object] | None" = None) -> None:
        self._reason = reason
        self._code: CodeType | None = None
        self._instruction = 0
        self.dependency: Computed[object] | None = dependency
        """The computed whose invalidation led here; only recorded in `WHOLE_CHAIN` mode."""

    @classmethod
    def at(cls, code: CodeType, instruction: int) -> "InvalidationSource":
        """Return a source for a place in the program; its text is made when somebody asks."""
        source = cls()
        source._code = code
        source._instruction = instruction
        return source

    @property
    def origin(self) -> "InvalidationSource":
        """The source where the cascade began."""
        *_, last = self
        return last

    def __iter__(self) -> Iterator["InvalidationSource"]:
        """Yield this source and those behind it, up to the origin."""
        seen: set[int] = set()
        source: InvalidationSource | None = self
        while source is not None and id(source) not in seen:
            seen.add(id(source))
            yield source
            dependency = source.dependency
            source = dependency.invalidation_source if dependency is not None else None

    def __str__(self) -> str:
        return " <- ".join(source._text() for source in self)

    def __repr__(self) -> str:
        return f"<InvalidationSource {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InvalidationSource):
            return NotImplemented
        return (self._text(), self.dependency) == (other._text(), other.dependency)

    def __hash__(self) -> int:
        return hash(self._text())

    def _text(self) -> str:
        if self.dependency is not None:
            return repr(self.dependency)
        if self._code is None:
            return self._reason or "unknown"
        line = self._code.co_firstlineno
        for start, end, number in self._code.co_lines():
            if start <= self._instruction < end and number is not None:
                line = number
        return f"{self._code.co_qualname} ({self._code.co_filename}:{line})"


def _reason(name: str, text: str) -> None:
    setattr(InvalidationSource, name, InvalidationSource(text))


_reason("UNKNOWN", "unknown")
_reason("CANCELLATION", "the computation was cancelled")
_reason("INITIAL_STATE", "the initial value of a state")
_reason("REPLACED", "a newer computed took its place")
_reason("MUTABLE_STATE_SET", "MutableState.set")
_reason("RECOMPUTE", "recompute()")
_reason("AUTO_INVALIDATION", "auto_invalidation_delay has passed")
_reason("ERROR_EXPIRED", "the time to keep an error has passed")
_reason("EVERYTHING", "invalidate_everything()")
_reason("CONSOLIDATION", "the consolidated output has changed")

_tracking = InvalidationTracking.ORIGIN_ONLY


def invalidation_tracking() -> InvalidationTracking:
    """Return what is recorded about invalidations in this process."""
    return _tracking


def set_invalidation_tracking(tracking: InvalidationTracking) -> InvalidationTracking:
    """Change what is recorded from now on; returns the previous mode."""
    global _tracking
    previous, _tracking = _tracking, tracking
    return previous


def caller_source(depth: int) -> InvalidationSource:
    """Return the source for the caller `depth` frames above the calling function, as the mode demands."""
    if _tracking is InvalidationTracking.NONE:
        return InvalidationSource.UNKNOWN
    frame = sys._getframe(depth + 1)
    return InvalidationSource.at(frame.f_code, frame.f_lasti)
