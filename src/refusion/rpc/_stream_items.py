"""How items of a stream are encoded: an index with one item, or with several."""

from typing import Any

from .formats import ArgumentCodec, RpcFormat

__all__ = ["batch_codec", "item_codec"]


def item_codec(format_: RpcFormat, item_type: Any) -> ArgumentCodec:
    """Return the codec of `$sys.I`, for the values `(index, item)`."""
    return format_.item(item_type)


def batch_codec(format_: RpcFormat, item_type: Any) -> ArgumentCodec:
    """Return the codec of `$sys.B`, for the values `(index, [item, ...])`."""
    return format_.batch(item_type)
