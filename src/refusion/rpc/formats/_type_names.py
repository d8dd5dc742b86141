"""Names that types have on the wire: .NET's, for values whose declared type leaves open what they are."""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from uuid import UUID

from msgspec import Meta

__all__ = ["OBJECTS", "NamedType", "array_name", "class_of", "find_type", "name_of", "rpc_type", "type_name_hash"]

C = TypeVar("C", bound=type[Any])

_CORE: Final = "System.Private.CoreLib"
OBJECTS: Final = f"System.Object[], {_CORE}"
"""The name of an array of anything, whose items travel without types."""
_MAX_BYTES: Final = 0xFFFF
_NAME: Final = re.compile(r"[^\x00-\x1f]*[^\x00-\x1f ], [^\x00-\x1f,\[\]]+")
_ARRAY: Final = re.compile(r"(.+)\[\], ([^,\[\]]+)")


class NamedType(NamedTuple):
    """What a name from the wire means."""

    cls: type[Any]
    """The class, of the elements if it is an array."""
    read_as: Any
    """The type to read a value, or an element, as."""
    is_array: bool


def _integer(smallest: int, largest: int) -> Any:
    return Annotated[int, Meta(ge=smallest, le=largest)]


_BUILTINS: Final[dict[str, tuple[type[Any], Any]]] = {
    f"System.{name}, {_CORE}": known
    for name, known in {
        "Boolean": (bool, bool),
        "Byte": (int, _integer(0, (1 << 8) - 1)),
        "DateOnly": (date, date),
        "DateTime": (datetime, datetime),
        "Decimal": (Decimal, Decimal),
        "Double": (float, float),
        "Guid": (UUID, UUID),
        "Int16": (int, _integer(-(1 << 15), (1 << 15) - 1)),
        "Int32": (int, _integer(-(1 << 31), (1 << 31) - 1)),
        "Int64": (int, _integer(-(1 << 63), (1 << 63) - 1)),
        "SByte": (int, _integer(-(1 << 7), (1 << 7) - 1)),
        "Single": (float, float),
        "String": (str, str),
        "TimeOnly": (time, time),
        "TimeSpan": (timedelta, timedelta),
        "UInt16": (int, _integer(0, (1 << 16) - 1)),
        "UInt32": (int, _integer(0, (1 << 32) - 1)),
        # msgspec knows no limit beyond that of Int64, and there is nothing beyond this one in MessagePack.
        "UInt64": (int, Annotated[int, Meta(ge=0)]),
    }.items()
} | {
    f"System.Byte[], {_CORE}": (bytes, bytes),
    OBJECTS: (list, list[Any]),
}
"""The class in Python, and the type to read, of .NET's own types."""

_NAMES: Final[dict[type[Any], str]] = {
    cls: f"System.{name}, {_CORE}"
    for name, cls in {
        "Boolean": bool,
        "DateOnly": date,
        "DateTime": datetime,
        "Decimal": Decimal,
        "Double": float,
        "Guid": UUID,
        "String": str,
        "TimeOnly": time,
        "TimeSpan": timedelta,
    }.items()
} | {bytes: f"System.Byte[], {_CORE}"}

_classes: Final[dict[str, type[Any]]] = {}
_names: Final[dict[type[Any], str]] = {}


def rpc_type(*, name: str) -> Callable[[C], C]:
    """Give a class its name on the wire, for arguments and results that are declared as `object` or an abstract class.

    Nothing is ever imported by a name from the wire: only classes that have said theirs can be received.

    Args:
        name: What .NET calls it, with its assembly, as `MyApp.Circle, MyApp.Contracts`. Among Python peers any
            name of this form does.

    Raises:
        ValueError: If it isn't such a name, or another class has it.
    """
    is_name = _NAME.fullmatch(name) and not _ARRAY.fullmatch(name) and "*/" not in name
    if not is_name or len(name.encode()) > _MAX_BYTES:
        raise ValueError(f"a type is named with its assembly, as 'MyApp.Circle, MyApp.Contracts', not {name!r}")

    def apply(cls: C) -> C:
        if not isinstance(cls, type):
            raise ValueError(f"{cls!r} isn't a class, so it can't have the name {name!r}")
        known = _classes.get(name)
        if name in _BUILTINS or known not in (None, cls):
            raise ValueError(f"{name!r} is the name of {known or 'a type of .NET'}; {cls.__qualname__} needs another")
        if _names.get(cls, name) != name:
            raise ValueError(f"{cls.__qualname__} has the name {_names[cls]!r} already")
        _classes[name] = cls
        _names[cls] = name
        return cls

    return apply


def class_of(value: object) -> type[Any]:
    """Return the class of a value, as which it is sent."""
    return type(value)


def name_of(values: Sequence[Any]) -> str | None:
    """Return the name of the class that all these values have; None if it has none.

    Integers have the name of the smallest of .NET's usual types that holds them all.
    """
    cls = class_of(values[0])
    if cls is not int:
        return _names.get(cls) or _NAMES.get(cls)
    smallest, largest = min(values), max(values)
    if smallest >= -(1 << 31) and largest < 1 << 31:
        return f"System.Int32, {_CORE}"
    return f"System.UInt64, {_CORE}" if smallest >= 0 and largest >= 1 << 63 else f"System.Int64, {_CORE}"


def array_name(name: str) -> str:
    """Return the name of the type of an array of something."""
    type_name, assembly = name.rsplit(", ", 1)
    return f"{type_name}[], {assembly}"


def find_type(name: str) -> NamedType | None:
    """Return what a name from the wire means; None if nothing here has it."""
    if name in _BUILTINS:
        return NamedType(*_BUILTINS[name], is_array=False)
    if name in _classes:
        return NamedType(_classes[name], _classes[name], is_array=False)
    # Arrays of arrays aren't known, so there is one step and no recursion: the name is a stranger's.
    type_name, separator, assembly = name.rpartition("[], ")
    element = f"{type_name}, {assembly}"
    if not separator:
        return None
    builtin = _BUILTINS.get(element)
    if builtin is not None:
        return None if builtin[0] is list else NamedType(*builtin, is_array=True)
    cls = _classes.get(element)
    return None if cls is None else NamedType(cls, cls, is_array=True)


def type_name_hash(name: bytes) -> bytes:
    """Return the two bytes that guard a type name in a binary message."""
    import xxhash

    return (int(xxhash.xxh3_64_intdigest(name)) & 0xFFFF).to_bytes(2, "little")
