"""Streams in signatures: as a result one is sent line by line; elsewhere plain HTTP has no place for one."""

from typing import Any, get_args, get_origin

from refusion.rpc import RpcStream

__all__ = ["stream_item_type"]


def stream_item_type(declared: Any) -> Any | None:
    """Return the type of the items if a type is that of a stream, else None."""
    origin = get_origin(declared) or declared
    if origin is not RpcStream:
        return None
    arguments = get_args(declared)
    return arguments[0] if arguments else Any
