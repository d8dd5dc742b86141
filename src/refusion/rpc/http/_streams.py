"""Streams in signatures: as a result one is sent line by line; elsewhere plain HTTP has no place for one."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec

from refusion import rpc

__all__ = ["has_stream", "stream_item_type"]


def stream_item_type(declared: Any) -> Any | None:
    """Return the type of the items if a type is that of a stream, else None."""
    stream = _stream_class()
    origin = get_origin(declared) or declared
    if stream is None or not (isinstance(origin, type) and issubclass(origin, stream)):
        return None
    arguments = get_args(declared)
    return arguments[0] if arguments else Any


def has_stream(declared: Any) -> bool:
    """Tell whether there is a stream anywhere in values of a type."""
    stream = _stream_class()
    if stream is None:
        return False
    root = msgspec.inspect.type_info(declared)
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, msgspec.inspect.CustomType) and issubclass(node.cls, stream):
            return True
        waiting.extend(_parts(node))
    return False


def _parts(node: Any) -> Iterator[Any]:
    """Give the types that a type is made of."""
    for name in node.__struct_fields__:
        yield from _types_in(getattr(node, name))


def _types_in(value: Any) -> Iterator[Any]:
    match value:
        case msgspec.inspect.Type() | msgspec.inspect.Field():
            yield value
        case [*parts]:
            for part in parts:
                yield from _types_in(part)
        case _:
            pass


def _stream_class() -> type[Any] | None:
    return getattr(rpc, "RpcStream", None)
