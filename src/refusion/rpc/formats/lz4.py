"""Formats whose frames are compressed with LZ4; loaded when one of them is asked for.

A packed frame begins with a byte of flags: 0x80 if its body is compressed, 0x40 if the window is emptied first.
A compressed body is a sequence of blocks with their sizes, each of which refers to the 64 KiB of compressed
content before it, also of earlier frames. Frames that are small, or don't get smaller, go as they are.
"""

from typing import Any, Final, cast, final

import lz4.block

from refusion.rpc._errors import RpcProtocolError

from ._format import RpcFormat
from ._frames import FrameDecoder, FrameEncoder
from ._msgpack import MsgPack6, MsgPack6C

__all__ = ["LZ4_FORMATS", "Lz4Decoder", "Lz4Encoder"]

_COMPRESSED: Final = 0x80
_RESET: Final = 0x40
_BLOCK_BYTES: Final = 16_384
"""What a block holds at most, uncompressed."""
_WINDOW_BYTES: Final = 65_536
"""How far back LZ4 refers."""
_MIN_FRAME_BYTES: Final = 512
"""Less isn't worth it."""
_RESET_BYTES: Final = 131_072
"""After so much the window is emptied: what can be learnt of it from sizes stays bounded."""

_SMALL_BLOCKS: Final = 1_024
"""So many blocks of a frame may hold as little as they like."""
_MEAN_BYTES: Final = 256
"""What the blocks of a frame that has more must hold on average: each costs time, also with one byte in it."""

_block: Final[Any] = cast(Any, lz4.block)


@final
class Lz4Encoder(FrameEncoder):
    """Packs frames; holds up to 64 KiB of what it has packed."""

    def __init__(self) -> None:
        self._window = b""
        self._bytes_since_reset = 0

    def encode(self, frame: bytes) -> bytes:
        if len(frame) < _MIN_FRAME_BYTES:
            return b"\x00" + frame
        must_reset = self._bytes_since_reset >= _RESET_BYTES
        window = b"" if must_reset else self._window
        packed = bytearray([_COMPRESSED | _RESET if must_reset else _COMPRESSED])
        for start in range(0, len(frame), _BLOCK_BYTES):
            block = frame[start : start + _BLOCK_BYTES]
            data: bytes = _block.compress(block, store_size=False, dict=window)
            packed += len(data).to_bytes(2, "little")
            packed += data
            window = (window + block)[-_WINDOW_BYTES:]
        if len(packed) > len(frame):
            # The other side doesn't see what was tried.
            return b"\x00" + frame
        if must_reset:
            self._bytes_since_reset = 0
        self._window = window
        self._bytes_since_reset += len(frame)
        return bytes(packed)


@final
class Lz4Decoder(FrameDecoder):
    """Unpacks frames; holds up to 64 KiB of what it has unpacked."""

    def __init__(self) -> None:
        self._window = b""

    def decode(self, frame: bytes, max_bytes: int) -> bytes:
        if not frame:
            raise RpcProtocolError("a frame without its flags")
        flags = frame[0]
        if flags & _RESET:
            self._window = b""
        content = self._unpack(frame, max_bytes) if flags & _COMPRESSED else frame[1:]
        if len(content) > max_bytes:
            raise RpcProtocolError(f"a frame of {len(content):,} bytes, and {max_bytes:,} is the limit")
        return content

    def _unpack(self, frame: bytes, max_bytes: int) -> bytes:
        # The window and what is unpacked are one buffer: nothing is copied for a block to see what it refers to.
        buffer = bytearray(self._window)
        start = len(buffer)
        position, end, count = 1, len(frame), 0
        while position < end:
            block_start = position + 2
            position = block_start + int.from_bytes(frame[position:block_start], "little")
            if position > end or position <= block_start:
                raise RpcProtocolError("a compressed block that is empty, or doesn't end within its frame")
            with memoryview(buffer) as view, view[-_WINDOW_BYTES:] as window:
                block = _decompress(frame[block_start:position], window)
            buffer += block
            count += 1
            size = len(buffer) - start
            if size > max_bytes:
                raise RpcProtocolError(f"a frame that unpacks to more than {max_bytes:,} bytes")
            if count > _SMALL_BLOCKS and size < count * _MEAN_BYTES:
                raise RpcProtocolError(f"a frame of {count:,} compressed blocks with only {size:,} bytes in them")
        self._window = bytes(buffer[-_WINDOW_BYTES:])
        return bytes(buffer[start:])


def _decompress(data: bytes, window: memoryview) -> bytes:
    try:
        block: bytes = _block.decompress(data, uncompressed_size=_BLOCK_BYTES, dict=window)
    except _block.LZ4BlockError as error:
        raise RpcProtocolError(f"a compressed block that can't be read: {error}") from error
    if not block:
        raise RpcProtocolError("a compressed block with nothing in it")
    return block


class _FromServers(RpcFormat):
    """Servers send packed frames, clients don't."""

    def frame_encoder(self, *, is_server: bool) -> FrameEncoder | None:
        return Lz4Encoder() if is_server else None

    def frame_decoder(self, *, is_server: bool) -> FrameDecoder | None:
        return None if is_server else Lz4Decoder()


class _FromBoth(RpcFormat):
    """Both sides send packed frames."""

    def frame_encoder(self, *, is_server: bool) -> FrameEncoder | None:
        return Lz4Encoder()

    def frame_decoder(self, *, is_server: bool) -> FrameDecoder | None:
        return Lz4Decoder()


@final
class MsgPack6Lz4(_FromServers, MsgPack6):
    """`msgpack6-lz4`."""

    key = "msgpack6-lz4"


@final
class MsgPack6Lz4F(_FromBoth, MsgPack6):
    """`msgpack6-lz4f`."""

    key = "msgpack6-lz4f"


@final
class MsgPack6CLz4(_FromServers, MsgPack6C):
    """`msgpack6c-lz4`."""

    key = "msgpack6c-lz4"


@final
class MsgPack6CLz4F(_FromBoth, MsgPack6C):
    """`msgpack6c-lz4f`."""

    key = "msgpack6c-lz4f"


LZ4_FORMATS: Final[tuple[RpcFormat, ...]] = (MsgPack6CLz4(), MsgPack6CLz4F(), MsgPack6Lz4(), MsgPack6Lz4F())
"""One of each."""
