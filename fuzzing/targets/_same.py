"""Whether two values are the same, and whether every format can write a value."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from pydantic import BaseModel

__all__ = ["is_same", "is_writable"]

_LONGEST: Final = timedelta(microseconds=(1 << 63) // 10)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types; a NaN is the same as another one."""
    if type(one) is not type(other):
        return False
    if isinstance(one, msgspec.Raw):
        return bytes(one) == bytes(other)
    if isinstance(one, msgspec.msgpack.Ext):
        return (one.code, bytes(one.data)) == (other.code, bytes(other.data))
    if isinstance(one, (float, Decimal)):
        return repr(one) == repr(other)
    if isinstance(one, (set, frozenset)):
        return {repr(item) for item in one} == {repr(item) for item in other}
    parts, others = list(_parts(one)), list(_parts(other))
    if not parts and not others:
        return repr(one) == repr(other)
    return len(parts) == len(others) and all(map(is_same, parts, others))


def is_writable(value: Any) -> bool:
    """Tell whether a value has only numbers that JSON has, and only spans of time that .NET has."""
    if isinstance(value, timedelta):
        return abs(value) <= _LONGEST
    if isinstance(value, (float, Decimal)):
        return not (isinstance(value, Decimal) and value.is_snan()) and math.isfinite(value)
    return all(is_writable(part) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, msgspec.Struct):
        yield from (getattr(value, name) for name in value.__struct_fields__)
    elif is_dataclass(value):
        yield from (getattr(value, each.name) for each in fields(value))
    elif isinstance(value, BaseModel):
        yield from (getattr(value, name) for name in type(value).model_fields)
