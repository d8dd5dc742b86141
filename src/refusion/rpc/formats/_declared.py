"""What a declared type is made of, as far as msgspec needs help with it; found once per type and encoding."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, final

from msgspec import inspect as nodes

from ._hooks import is_wire_value, pydantic_support

__all__ = ["Declared", "Part", "content", "key_of", "parts"]

Node = nodes.Type


class Part(NamedTuple):
    """A field of an object."""

    name: str
    """Its name on the wire."""
    node: Node
    is_required: bool


@final
class Declared:
    """One declared type, as one encoding sees it.

    Raises:
        TypeError: If no value of it can be sent.
    """

    def __init__(self, type_: Any, *, is_text: bool) -> None:
        self.type = type_
        self.is_text = is_text
        self.root: Node = nodes.type_info(type_)
        reachable = list(_reachable(self.root))
        kinds = {type(node) for node in reachable}
        for node in _reachable(self.root, into_models=False):
            _check(node, is_text=is_text)
        self.has_spans: bool = not kinds.isdisjoint(_SPANS if is_text else _BINARY_SPANS)
        """Whether it has spans of time, or dates, whose form msgspec doesn't know."""
        self.has_decimals: bool = nodes.DecimalType in kinds
        self.must_convert: bool = self.has_spans or (is_text and _has_models_with_bytes(reachable))
        """Whether what is read has to be changed before it fits."""
        # A WireValue writes what it wants; others that msgspec doesn't know may hold anything.
        unknown = any(
            isinstance(node, nodes.AnyType) or (isinstance(node, nodes.CustomType) and not is_wire_value(node.cls))
            for node in reachable
        )
        self.may_have_floats: bool = unknown or nodes.FloatType in kinds
        """Whether a float may be in it."""
        self.may_have_decimals: bool = unknown or self.has_decimals
        """Whether a decimal may be in it."""
        self.has_anything: bool = not is_text and not kinds.isdisjoint(_ANYTHING)
        """Whether there are values in it whose maps may have keys of any type."""
        self.is_spelled_otherwise: Callable[[bytes], bool] | None = _text_check(reachable) if is_text else None
        """Tells whether a text has to be read with care: it may have a field under another spelling, of those that
        nobody would miss, or a number of more than 64 bits in a set or as a key."""


_SPANS: Final = {nodes.TimeDeltaType}
_BINARY_SPANS: Final = {nodes.TimeDeltaType, nodes.DateType, nodes.TimeType}
_ANYTHING: Final = {nodes.AnyType, nodes.CustomType}


def content(node: Node) -> list[Any] | Node | None:
    """Return what is in a custom type that says so: its fields, or the node in its place; None for others."""
    if not isinstance(node, nodes.CustomType):
        return None
    support = pydantic_support(node.cls)
    if support is None:
        return None
    inner: list[Any] | Node = support.content_of(node.cls)
    return inner


def parts(node: Node) -> list[Part] | None:
    """Return the fields of a type whose values travel as objects; None for others."""
    if isinstance(node, nodes.StructType) and node.array_like:
        return None
    if isinstance(node, (nodes.StructType, nodes.DataclassType, nodes.TypedDictType)):
        return [Part(field.encode_name, field.type, field.required) for field in node.fields]
    inner = content(node)
    return [Part(*field) for field in inner] if isinstance(inner, list) else None


def key_of(node: Node) -> Any:
    """Return what tells a node from others; types that refer to themselves have the same node again."""
    return node.cls if isinstance(node, nodes.CustomType) else id(node)


def _children(node: Node, *, into_models: bool) -> Iterator[Node]:
    match node:
        case nodes.StructType() | nodes.DataclassType() | nodes.TypedDictType() | nodes.NamedTupleType():
            yield from (field.type for field in node.fields)
        case nodes.TupleType():
            yield from node.item_types
        case nodes.UnionType():
            yield from node.types
        case nodes.DictType():
            yield node.key_type
            yield node.value_type
        case nodes.CollectionType() | nodes.ListType() | nodes.VarTupleType() | nodes.SetType() | nodes.FrozenSetType():
            yield node.item_type
        case nodes.CustomType() if into_models:
            inner = content(node)
            if isinstance(inner, list):
                yield from (field[1] for field in inner)
            elif inner is not None:
                yield inner
        case _:
            pass


def _reachable(root: Node, *, into_models: bool = True) -> Iterator[Node]:
    seen: set[Any] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if key_of(node) not in seen:
            seen.add(key_of(node))
            yield node
            waiting.extend(_children(node, into_models=into_models))


def _check(node: Node, *, is_text: bool) -> None:
    if isinstance(node, nodes.CustomType):
        cls = node.cls
        if cls is object or is_wire_value(cls) or pydantic_support(cls) is not None:
            return
        if inspect.isabstract(cls):
            raise TypeError(_ABSTRACT.format(cls.__qualname__))
        name = getattr(cls, "__qualname__", repr(cls))
        raise TypeError(f"{name} isn't a type that can be sent; make it a dataclass, a msgspec.Struct or a WireValue")
    if isinstance(node, nodes.StructType) and inspect.isabstract(node.cls):
        raise TypeError(_ABSTRACT.format(node.cls.__qualname__))
    if isinstance(node, nodes.UnionType) and not is_text:
        kinds = {type(alternative) for alternative in node.types}
        if len(kinds & (_BINARY_SPANS | {nodes.IntType})) > 1:
            raise TypeError("of int, timedelta, date and time a union may have one: all travel as integers")


_ABSTRACT: Final = (
    "{} is abstract, and inside of another type nothing says which class is meant; "
    "make it a union of tagged Structs, or an argument of its own"
)


def _has_models_with_bytes(reachable: list[Node]) -> bool:
    return any(content(node) is not None for node in reachable) and any(
        isinstance(node, (nodes.BytesType, nodes.ByteArrayType)) for node in reachable
    )


_LONG_NUMBER: Final = re.compile(rb"\d{20}")


def _text_check(reachable: list[Node]) -> Callable[[bytes], bool] | None:
    spelling_check = _spelling_check(reachable)
    if not any(isinstance(_looked_for(node), nodes.IntType) for node in reachable):
        return spelling_check

    def must_be_looked_at(text: bytes) -> bool:
        return _LONG_NUMBER.search(text) is not None or (spelling_check is not None and spelling_check(text))

    return must_be_looked_at


def _looked_for(node: Node) -> Node | None:
    """Return the type of what is looked for in a set or a dict; None for others."""
    if isinstance(node, nodes.DictType):
        return node.key_type
    return node.item_type if isinstance(node, (nodes.SetType, nodes.FrozenSetType)) else None


_USUAL_NAME: Final = re.compile(r"[A-Za-z0-9_.$@-]+", re.ASCII)


def _spelling_check(reachable: list[Node]) -> Callable[[bytes], bool] | None:
    """Return what tells whether an optional field may be there in other letters than declared.

    A field that is required is missed by msgspec, so the second try finds it. One with a default isn't: its
    value would be lost. It is looked for in the text as such, which costs little next to reading everything
    twice: each name has to be there as often in its own spelling as in any.
    """
    names = {part.name for node in reachable for part in parts(node) or () if not part.is_required}
    if not names:
        return None
    spellings = {name.lower(): name for name in names}
    if len(spellings) < len(names) or not all(_USUAL_NAME.fullmatch(name) for name in names):
        # Two fields that differ in case only, or letters that JSON may write in several ways.
        return lambda text: True
    pairs = [(f'"{lowered}"'.encode(), f'"{name}"'.encode()) for lowered, name in spellings.items()]

    def is_spelled_otherwise(text: bytes) -> bool:
        folded = text.lower()
        for lowered, name in pairs:  # noqa: SIM110  # runs for every value, and a generator takes half as long again
            if folded.count(lowered) != text.count(name):
                return True
        return False

    return is_spelled_otherwise
