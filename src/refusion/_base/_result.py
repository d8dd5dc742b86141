"""A value or an error, as one thing."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, final

__all__ = ["Result", "StoredError"]

T_co = TypeVar("T_co", covariant=True)


@final
class StoredError:
    """An error that may be raised many times without its traceback growing each time."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException, traceback: TracebackType | None) -> None:
        self.error = error
        self.traceback = traceback

    def restored(self) -> BaseException:
        """Return the error as it was when it was stored, ready to be raised."""
        return self.error.with_traceback(self.traceback)


@final
class Result(Generic[T_co]):
    """What a computation ended with: a value, or an error in its place.

    `value, error = result` never raises.
    """

    __slots__ = ("_error", "_value")

    def __init__(self, value: T_co | None = None, error: BaseException | None = None) -> None:
        self._value = value
        self._error = error

    @property
    def has_error(self) -> bool:
        """Whether this is an error."""
        return self._error is not None

    @property
    def has_value(self) -> bool:
        """Whether this is a value."""
        return self._error is None

    @property
    def error(self) -> BaseException | None:
        """The error, or None."""
        return self._error

    @property
    def value(self) -> T_co:
        """The value; raises the error if this is one."""
        if self._error is not None:
            raise self._error
        return cast(T_co, self._value)

    @property
    def value_or_none(self) -> T_co | None:
        """The value, or None if this is an error."""
        return self._value

    def __iter__(self) -> Iterator[Any]:
        yield self._value
        yield self._error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        value: object = other._value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return self._error is other._error and bool(self._value == value)  # pyright: ignore[reportUnknownArgumentType]

    def __hash__(self) -> int:
        return hash((self._value, self._error))

    def __repr__(self) -> str:
        return f"Result({self._value!r})" if self._error is None else f"Result(error={self._error!r})"
