"""Wire formats, one module each; `get_format` finds them by key."""

from typing import Final

from refusion.rpc._errors import RpcUnsupportedFormat

from ._format import ArgumentCodec as ArgumentCodec
from ._format import ReadResult as ReadResult
from ._format import RpcFormat as RpcFormat
from ._json5 import Json5NP as Json5NP
from ._msgpack import MsgPack6 as MsgPack6
from ._msgpack import MsgPack6C as MsgPack6C

_formats: Final[dict[str, RpcFormat]] = {known.key: known for known in (MsgPack6C(), MsgPack6(), Json5NP())}


def get_format(key: str) -> RpcFormat:
    """Return the format with this key.

    Raises:
        RpcUnsupportedFormat: If there is none.
    """
    try:
        return _formats[key]
    except KeyError:
        raise RpcUnsupportedFormat(key, format_keys()) from None


def format_keys() -> tuple[str, ...]:
    """Return the keys of all formats."""
    return tuple(_formats)
