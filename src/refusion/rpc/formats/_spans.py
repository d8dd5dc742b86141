"""Spans of time, dates and times of day in the forms of .NET, which msgspec doesn't write.

| Python | MessagePack | JSON |
|---|---|---|
| timedelta | int64: ticks of 100 ns | `[-][d.]hh:mm:ss[.fffffff]` |
| date | int32: days since 0001-01-01 | as msgspec writes it: `2024-02-29` |
| time | int64: ticks since midnight | as msgspec writes it: `12:30:00` |

Readers take the forms of msgspec as well: what isn't understood here is left to it.
"""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

__all__ = ["BUILTIN_TYPES", "read_date", "read_span_text", "read_ticks", "read_time", "with_spans"]

BUILTIN_TYPES: Final = (bytes, bytearray, memoryview, datetime, date, time, timedelta, UUID, Decimal)
"""What msgspec encodes by itself, so that a tree of values may keep it."""

_MICROSECOND: Final = timedelta(microseconds=1)
_DAY_TICKS: Final = 864_000_000_000
_TEXT: Final = re.compile(r"(-)?(?:(\d{1,8})\.)?([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,7}))?", re.ASCII)


_Tree = list[Any] | dict[Any, Any] | tuple[Any, ...] | timedelta | date | time | str | float | bytes | None


def with_spans(tree: _Tree, *, is_text: bool) -> Any:
    """Return a tree of builtin values with its spans, dates and times in the forms of .NET.

    Raises:
        ValueError: If a span is longer than .NET can tell: about 29,000 years.
    """
    if isinstance(tree, dict):
        return {with_spans(key, is_text=is_text): with_spans(value, is_text=is_text) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [with_spans(value, is_text=is_text) for value in tree]
    if isinstance(tree, timedelta):
        return _text_of(tree) if is_text else _ticks_of(tree)
    if is_text:
        return tree
    if isinstance(tree, date) and not isinstance(tree, datetime):
        return tree.toordinal() - 1
    if isinstance(tree, time) and tree.tzinfo is None:
        return (((tree.hour * 60 + tree.minute) * 60 + tree.second) * 1_000_000 + tree.microsecond) * 10
    return tree


def read_span_text(value: Any) -> Any:
    """Return the span that a text of .NET means, or the value itself."""
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    sign, days, hours, minutes, seconds, fraction = match.groups()
    whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    ticks = whole * 10_000_000 + int((fraction or "").ljust(7, "0"))
    return _timedelta_of(-ticks if sign else ticks)


def read_ticks(value: Any) -> Any:
    """Return the span that ticks mean, or the value itself."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return _timedelta_of(value)
    return value


def read_date(value: Any) -> Any:
    """Return the date that a number of days means, or the value itself."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < date.max.toordinal():
        return date.fromordinal(value + 1)
    return value


def read_time(value: Any) -> Any:
    """Return the time of day that ticks mean, or the value itself."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _DAY_TICKS:
        seconds, ticks = divmod(value, 10_000_000)
        return time(seconds // 3_600, seconds // 60 % 60, seconds % 60, ticks // 10)
    return value


def _timedelta_of(ticks: int) -> timedelta:
    # To the nearest microsecond, which is what Python has.
    return timedelta(microseconds=(ticks + 5) // 10)


def _ticks_of(span: timedelta) -> int:
    ticks = span // _MICROSECOND * 10
    # The longest ones of .NET, which stand for "no limit" there, end within a microsecond.
    nearest = min(max(ticks, -(1 << 63)), (1 << 63) - 1)
    if abs(ticks - nearest) >= 10:
        raise ValueError(f"a span of {span} is longer than a TimeSpan of .NET can be")
    return nearest


def _text_of(span: timedelta) -> str:
    ticks = _ticks_of(span)
    seconds, fraction = divmod(abs(ticks), 10_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{'-' if ticks < 0 else ''}{f'{days}.' if days else ''}{hours:02}:{minutes:02}:{seconds:02}"
        f"{f'.{fraction:07}' if fraction else ''}"
    )
