"""Wire formats, one module each; `get_format` finds them by key."""

import importlib.util
import threading
from typing import Final

from refusion.rpc._errors import RpcUnsupportedFormat

from ._format import ArgumentCodec as ArgumentCodec
from ._format import ReadResult as ReadResult
from ._format import RpcFormat as RpcFormat
from ._frames import FrameDecoder as FrameDecoder
from ._frames import FrameEncoder as FrameEncoder
from ._hooks import WireValue as WireValue
from ._json5 import Json5 as Json5
from ._json5 import Json5NP as Json5NP
from ._msgpack import MsgPack6 as MsgPack6
from ._msgpack import MsgPack6C as MsgPack6C
from ._polymorphism import is_polymorphic as is_polymorphic
from ._type_names import rpc_type as rpc_type

_formats: Final[dict[str, RpcFormat]] = {known.key: known for known in (MsgPack6C(), MsgPack6(), Json5NP(), Json5())}
_LZ4_KEYS: Final = ("msgpack6c-lz4", "msgpack6c-lz4f", "msgpack6-lz4", "msgpack6-lz4f")
_lock: Final = threading.Lock()


def get_format(key: str) -> RpcFormat:
    """Return the format with this key.

    Raises:
        RpcUnsupportedFormat: If there is none, or the package that it needs isn't installed.
    """
    known = _formats.get(key)
    if known is None and key in _LZ4_KEYS:
        known = _load_lz4(key)
    if known is None:
        raise RpcUnsupportedFormat(key, format_keys())
    return known


def format_keys() -> tuple[str, ...]:
    """Return the keys of all formats that can be had here."""
    keys = [*_formats]
    if importlib.util.find_spec("lz4") is not None:
        keys += [key for key in _LZ4_KEYS if key not in _formats]
    return tuple(keys)


def register_format(format_: RpcFormat) -> None:
    """Make a format of one's own known, to hubs that serve and to clients that ask for it by its key.

    Raises:
        ValueError: If there is a format with its key already.
    """
    with _lock:
        if format_.key in _formats or format_.key in _LZ4_KEYS:
            raise ValueError(f"there is a format {format_.key!r} already; give yours a key of its own")
        _formats[format_.key] = format_


def _load_lz4(key: str) -> RpcFormat:
    try:
        from .lz4 import LZ4_FORMATS
    except ImportError as error:
        remedy = "it needs the package lz4: pip install refusion[lz4]"
        raise RpcUnsupportedFormat(key, format_keys(), remedy) from error
    with _lock:
        for compressed in LZ4_FORMATS:
            _formats.setdefault(compressed.key, compressed)
    return _formats[key]
