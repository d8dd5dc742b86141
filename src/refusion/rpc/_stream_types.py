"""Which types carry streams: asked once per type, so that calls without streams pay nothing."""

import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin

from ._stream import RpcStream

__all__ = ["carries_streams", "item_types"]


@lru_cache(maxsize=4_096)
def item_types(declared: Any) -> tuple[Any, ...]:
    """Return the item types of the streams that values of a type may hold, also of streams of streams.

    A stream without a type argument has items of any type.
    """
    return tuple(dict.fromkeys(_walk(declared, {}, set())))


def carries_streams(*declared: Any) -> bool:
    """Tell whether values of these types may hold streams."""
    return any(item_types(type_) for type_ in declared)


def _walk(declared: Any, variables: Mapping[Any, Any], seen: set[Any]) -> Iterator[Any]:
    if isinstance(declared, TypeVar):
        declared = variables.get(declared, Any)
    # An alias of the `type` statement stands for its value, a NewType for what it is made of.
    declared = getattr(declared, "__value__", getattr(declared, "__supertype__", declared))
    origin: Any = get_origin(declared) or declared
    arguments = tuple(variables.get(argument, argument) for argument in get_args(declared) if _is_type(argument))
    if _is_stream(origin):
        item_type = arguments[0] if arguments else Any
        yield item_type
        yield from _walk(item_type, variables, seen)
        return
    for argument in arguments:
        yield from _walk(argument, variables, seen)
    if not _has_fields(origin) or (origin, arguments) in seen:
        return
    seen.add((origin, arguments))
    own_variables = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
    for hint in _hints(origin).values():
        yield from _walk(hint, own_variables, seen)


def _is_type(argument: Any) -> bool:
    """Tell a type argument from what else may stand in brackets, as the values of a Literal."""
    try:
        hash(argument)
    except TypeError:
        return False
    return not isinstance(argument, str | int | bytes | None)


def _is_stream(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, RpcStream)


def _has_fields(origin: Any) -> bool:
    if not isinstance(origin, type):
        return False
    class_: type[Any] = origin
    marks = ("__struct_fields__", "__dataclass_fields__", "_fields", "__attrs_attrs__")
    return any(hasattr(class_, mark) for mark in marks) or typing.is_typeddict(class_)


def _hints(origin: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(origin, include_extras=True)
    except NameError:
        # The format refuses such a type by itself, and says why.
        return {}
