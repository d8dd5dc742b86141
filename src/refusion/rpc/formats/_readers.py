"""Readers: what changes untyped values, as JSON and MessagePack have them, so that they fit a declared type."""

import base64
from collections.abc import Callable
from decimal import Decimal
from math import isinf
from typing import Any, Final, final

from msgspec import inspect as nodes

from ._declared import Declared, Node, content, key_of, parts
from ._spans import read_date, read_span_text, read_ticks, read_time

__all__ = ["Reader", "create_reader"]

Reader = Callable[[Any], Any]
"""Changes a value so that it fits; leaves alone what it doesn't know, for others to complain about.

Lists and dicts are changed in their place where that is possible: nobody else has them.
"""

Untyped = float | Decimal | list[Any] | dict[Any, Any] | str | int | bytes | None
"""A value as JSON or MessagePack have it, and whatever else a reader has made of it."""


def create_reader(declared: Declared) -> Reader | None:
    """Return the reader for a declared type; None if there is nothing to change in any value of it."""
    return _Readers(declared).of(declared.root)


@final
class _Readers:
    """Makes the readers of the parts of one declared type."""

    def __init__(self, declared: Declared) -> None:
        self._is_text = declared.is_text
        self._has_decimals = declared.is_text and declared.has_decimals
        self._is_in_model = False
        self._made: dict[Any, Reader | None] = {}

    def of(self, node: Node) -> Reader | None:
        key = key_of(node)
        if key not in self._made:
            # A type that refers to itself asks for its reader before there is one.
            self._made[key] = lambda value: self._apply_later(key, value)
            self._made[key] = self._make(node)
        return self._made[key]

    def _apply_later(self, key: Any, value: Any) -> Any:
        reader = self._made[key]
        return value if reader is None else reader(value)

    def _make(self, node: Node) -> Reader | None:
        match node:
            case nodes.UnionType():
                return self._union(node.types)
            case nodes.DictType():
                return _dict_reader(self._looked_for(node.key_type), self.of(node.value_type))
            case nodes.SetType() | nodes.FrozenSetType():
                return _items_reader(self._looked_for(node.item_type))
            case nodes.TupleType():
                return _positions_reader([self.of(item) for item in node.item_types])
            case nodes.NamedTupleType():
                return _positions_reader([self.of(field.type) for field in node.fields])
            case nodes.StructType() if node.array_like:
                tag: list[Reader | None] = [] if node.tag is None else [None]
                return _positions_reader(tag + [self.of(field.type) for field in node.fields])
            case nodes.StructType() | nodes.DataclassType() | nodes.TypedDictType():
                return self._object(node)
            case nodes.CustomType() if content(node) is not None:
                return self._model(node)
            case _:
                item = getattr(node, "item_type", None)
                return self._scalar(node) if item is None else _items_reader(self.of(item))

    def _looked_for(self, node: Node) -> Reader | None:
        return _read_looked_for if self._is_text and isinstance(node, nodes.IntType) else self.of(node)

    def _scalar(self, node: Node) -> Reader | None:
        match node:
            case nodes.TimeDeltaType():
                return read_span_text if self._is_text else read_ticks
            case nodes.DateType() if not self._is_text:
                return read_date
            case nodes.TimeType() if not self._is_text:
                return read_time
            case nodes.IntType():
                return _read_integer
            case nodes.EnumType() if any(isinstance(member.value, int) for member in node.cls):
                return _read_integer
            case nodes.LiteralType() if any(isinstance(value, int) for value in node.values):
                return _read_integer
            case nodes.FloatType() if self._has_decimals:
                return _read_float
            case nodes.AnyType() | nodes.CustomType() if self._has_decimals:
                return _read_floats
            case nodes.BytesType() if self._is_text and self._is_in_model:
                return _read_base64
            case _:
                return None

    def _object(self, node: Node) -> Reader | None:
        readers = {part.name: self.of(part.node) for part in parts(node) or ()}
        if isinstance(node, nodes.StructType) and node.tag_field is not None:
            readers[node.tag_field] = None
        if not self._is_text:
            return _fields_reader(readers, {}) if any(readers.values()) else None
        folded: dict[str, str] = {}
        for name in readers:
            # Of two that differ in case only, each has to be written as it is.
            folded[name.lower()] = "" if name.lower() in folded else name
        return _fields_reader(readers, folded)

    def _model(self, node: Node) -> Reader | None:
        was_in_model, self._is_in_model = self._is_in_model, True
        inner = content(node)
        reader = self.of(inner) if isinstance(inner, nodes.Type) else self._object(node)
        self._is_in_model = was_in_model
        return reader

    def _union(self, types: tuple[Node, ...]) -> Reader | None:
        for node in types:
            if isinstance(node, (nodes.AnyType, nodes.CustomType)):
                # With None beside it at most, which no reader minds.
                return self.of(node)
        has_floats = any(isinstance(node, nodes.FloatType) for node in types)
        scalars: list[Reader] = []
        objects: dict[Any, Reader | None] = {}
        arrays: dict[Any, Reader | None] = {}
        tag_field = None
        for node in types:
            tag = node.tag if isinstance(node, nodes.StructType) else None
            if parts(node) is not None or isinstance(node, nodes.DictType):
                tag_field = node.tag_field if isinstance(node, nodes.StructType) else None
                objects[tag] = self.of(node)
            elif isinstance(node, _ARRAYS) or hasattr(node, "item_type"):
                arrays[tag] = self.of(node)
            elif not (has_floats and isinstance(node, nodes.IntType)):
                reader = self._scalar(node)
                if reader is not None:
                    scalars.append(reader)
        return _union_reader(scalars, objects, arrays, tag_field)


_ARRAYS: Final = (nodes.TupleType, nodes.NamedTupleType, nodes.StructType)


def _union_reader(
    scalars: list[Reader], objects: dict[Any, Reader | None], arrays: dict[Any, Reader | None], tag_field: str | None
) -> Reader | None:
    """Return what finds the alternative that a value belongs to: there are several of a kind only with tags."""
    if not scalars and not any(objects.values()) and not any(arrays.values()):
        return None

    def read(value: Untyped) -> Any:
        reader: Reader | None = None
        if isinstance(value, dict):
            reader = _only(objects) if len(objects) == 1 else objects.get(_find_folded(value, tag_field))
        elif isinstance(value, list):
            tag = value[0] if value and isinstance(value[0], (str, int)) else None
            reader = _only(arrays) if len(arrays) == 1 else arrays.get(tag)
        else:
            for scalar in scalars:
                value = scalar(value)
        return value if reader is None else reader(value)

    return read


def _only(readers: dict[Any, Reader | None]) -> Reader | None:
    (reader,) = readers.values()
    return reader


def _find_folded(value: dict[Any, Any], name: str | None) -> Any:
    if name is None:
        return None
    found = value.get(name)
    if found is None:
        for key, item in value.items():
            if isinstance(key, str) and key.lower() == name.lower():
                found = item
    return found if isinstance(found, (str, int)) else None


def _fields_reader(readers: dict[str, Reader | None], folded: dict[str, str]) -> Reader:
    def read(value: Untyped) -> Any:
        if not isinstance(value, dict):
            return value
        result: dict[Any, Any] = {}
        for key, item in value.items():
            name = key
            if key not in readers and isinstance(key, str):
                name = folded.get(key.lower()) or key
                if name is not key and name in value:
                    # It is there as declared, too.
                    continue
            reader = readers.get(name)
            result[name] = item if reader is None else reader(item)
        return result

    return read


def _dict_reader(read_key: Reader | None, read_value: Reader | None) -> Reader | None:
    if read_key is None and read_value is None:
        return None
    value_of = read_value or _same

    def read(value: Untyped) -> Any:
        if not isinstance(value, dict):
            return value
        if read_key is not None:
            return {read_key(key): value_of(item) for key, item in value.items()}
        for key, item in value.items():
            value[key] = value_of(item)
        return value

    return read


def _items_reader(read_item: Reader | None) -> Reader | None:
    if read_item is None:
        return None

    def read(value: Untyped) -> Any:
        if isinstance(value, list):
            # In its place: a second list beside the first one, and all in it, would take as much memory again.
            for index, item in enumerate(value):
                value[index] = read_item(item)
        return value

    return read


def _positions_reader(readers: list[Reader | None]) -> Reader | None:
    if not any(readers):
        return None

    def read(value: Untyped) -> Any:
        if not isinstance(value, list):
            return value
        for index, (reader, item) in enumerate(zip(readers, value, strict=False)):
            if reader is not None:
                value[index] = reader(item)
        return value

    return read


def _same(value: Any) -> Any:
    return value


_MAX_DIGITS: Final = 20
"""Those of a 64-bit number, or 19 and a sign."""


def _read_integer(value: Any) -> Any:
    # The range first: making an integer of 1e999999 would take all day.
    if isinstance(value, (float, Decimal)) and -(1 << 63) <= value < 1 << 64 and value == int(value):
        return int(value)
    return float(value) if isinstance(value, Decimal) else value


def _read_looked_for(value: Any) -> Any:
    """Read an integer in a set, or as a key: of longer ones any number can be made that are looked for in one place."""
    value = _read_integer(value)
    is_long = len(value) > _MAX_DIGITS if isinstance(value, str) else isinstance(value, int) and abs(value) >> 64
    if is_long:
        raise ValueError("Integer value out of range: it has more than 64 bits")
    return value


def _read_float(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    number = float(value)
    if isinf(number):
        raise ValueError("Number out of range")
    return number


def _read_floats(value: Untyped) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _read_floats(item)
        return value
    if isinstance(value, list):
        for index, item in enumerate(value):
            value[index] = _read_floats(item)
        return value
    return _read_float(value)


def _read_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value
