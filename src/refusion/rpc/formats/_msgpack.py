"""MessagePack formats: binary message layout V5, with method names or, compact, with their hashes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, final

import msgspec

from refusion.rpc._errors import RpcArgumentError, RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._leb128 import read_leb128, write_leb128
from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES, MAX_METHOD_BYTES
from refusion.rpc.protocol._message import RpcMessage
from refusion.rpc.protocol._method_names import MethodNames, wire_hash

from ._conversion import argument_error, convert_leniently
from ._format import ArgumentCodec, ReadResult, RpcFormat, check_headers, check_size
from ._hooks import binary_hooks

__all__ = ["MsgPack6", "MsgPack6C"]

_to_wire, _from_wire = binary_hooks
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_to_wire)
_untyped: Final = msgspec.msgpack.Decoder()
_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)

_MAX_HEADER_COUNT_BITS: Final = 0x1F


@final
class _MsgPackArguments(ArgumentCodec):
    """Values one after another, without an array header around them.

    For msgspec the header is put in front, so that all values are decoded in one typed step.
    """

    __slots__ = ("_count", "_decode", "_header", "_type")

    def __init__(self, types: tuple[Any, ...]) -> None:
        self._count = len(types)
        self._type: Any = tuple.__class_getitem__(types)
        self._header = _array_header(len(types))
        self._decode = msgspec.msgpack.Decoder(self._type, dec_hook=_from_wire).decode

    def encode(self, values: Sequence[Any]) -> bytes:
        if len(values) != self._count:
            raise RpcArgumentError(f"{self._count} values are declared and {len(values)} were given")
        if not isinstance(values, (tuple, list)):
            values = tuple(values)
        try:
            data = _encoder.encode(values)[len(self._header) :]
        except _ENCODE_ERRORS as error:
            raise RpcArgumentError(f"a value can't be written as MessagePack: {error}") from error
        check_size("the argument data", len(data), MAX_ARGUMENT_BYTES)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            values: tuple[Any, ...] = self._decode(self._header + data)
        except _DECODE_ERRORS as error:
            return self._decode_leniently(data, error)
        return values

    def _decode_leniently(self, data: bytes, error: Exception) -> tuple[Any, ...]:
        try:
            values = _split(data)
            if len(values) < self._count:
                raise RpcArgumentError(f"{self._count} values are declared and {len(values)} were sent")  # noqa: TRY301
            converted: tuple[Any, ...] = convert_leniently(values[: self._count], self._type, is_json=False)
        except RpcArgumentError:
            raise
        except _DECODE_ERRORS as second:
            # Of the two the first knows the types, unless the number of values was its whole problem.
            raise argument_error(second if isinstance(second, msgspec.ValidationError) else error) from None
        return converted


def _split(data: bytes) -> list[Any]:
    """Return all values in argument data, untyped."""
    for count in range(64):
        try:
            values: list[Any] = _untyped.decode(_array_header(count) + data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            if "trailing" in str(error):
                continue
            raise
        return values
    raise RpcProtocolError("there are too many values")


def _array_header(count: int) -> bytes:
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


class MsgPack6(RpcFormat):
    """`msgpack6`: binary messages with method names, values in MessagePack."""

    key = "msgpack6"
    is_text = False

    def write(self, buffer: bytearray, message: RpcMessage) -> None:
        check_headers(message)
        headers = message.headers
        buffer.append(message.call_type << 5 | len(headers))
        if message.related_id < 0x80:
            buffer.append(message.related_id)
        else:
            write_leb128(buffer, message.related_id)
        self._write_method(buffer, message.method)
        buffer += len(message.args).to_bytes(4, "little")
        buffer += message.args
        for name, value in headers:
            data = name.encode()
            buffer.append(len(data))
            buffer += data
            data = value.encode()
            write_leb128(buffer, len(data))
            buffer += data

    def read(self, frame: bytes, names: MethodNames) -> ReadResult:
        messages: list[RpcMessage] = []
        position, end = 0, len(frame)
        try:
            while position < end:
                message, position = self._read_message(frame, position, end, names)
                messages.append(message)
        except (RpcProtocolError, UnicodeDecodeError, IndexError) as error:
            return ReadResult(messages, RpcProtocolError(f"malformed message at byte {position} of a frame: {error}"))
        return ReadResult(messages, None)

    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        return _arguments(types)

    def encode_handshake(self, handshake: Handshake) -> bytes:
        versions = None if handshake.api_versions is None else [handshake.api_versions]
        fields: list[Any] = [
            handshake.remote_peer_id,
            versions,
            handshake.remote_hub_id,
            handshake.protocol_version,
            handshake.index,
        ]
        if handshake.secret is not None:
            fields.append(handshake.secret)
        return _encoder.encode(fields)

    def decode_handshake(self, data: bytes) -> Handshake:
        try:
            fields: list[Any] = msgspec.msgpack.decode(data, type=list[Any])
            peer_id, versions, hub_id, version, index, *more = fields
            secret = more[0] if more else None
            return msgspec.convert(
                {
                    "remote_peer_id": peer_id,
                    "remote_hub_id": hub_id,
                    "index": index,
                    "protocol_version": version,
                    "api_versions": versions[0] if versions else None,
                    "secret": secret,
                },
                Handshake,
            )
        except (*_DECODE_ERRORS, TypeError, LookupError) as error:
            raise RpcProtocolError(f"malformed handshake: {error}") from error

    def decode_error(self, data: bytes) -> ExceptionInfo:
        try:
            return _exception_decoder.decode(data)
        except _DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed error: {error}") from error

    def _write_method(self, buffer: bytearray, method: str) -> None:
        data = method.encode()
        write_leb128(buffer, len(data))
        buffer += data

    def _read_method(self, frame: bytes, position: int, names: MethodNames) -> tuple[str, int | None, int]:
        size, position = read_leb128(frame, position)
        if size > MAX_METHOD_BYTES or position + size > len(frame):
            raise RpcProtocolError(f"a method name of {size} bytes")
        return frame[position : position + size].decode(), None, position + size

    def _read_message(self, frame: bytes, start: int, end: int, names: MethodNames) -> tuple[RpcMessage, int]:
        flags = frame[start]
        related_id = frame[start + 1]
        position = start + 2
        if related_id > 0x7F:
            related_id, position = read_leb128(frame, start + 1)
        method, unknown_hash, position = self._read_method(frame, position, names)
        args_start = position + 4
        args_end = args_start + int.from_bytes(frame[position:args_start], "little")
        if args_end > end or args_start > end or args_end - args_start > MAX_ARGUMENT_BYTES:
            raise RpcProtocolError("argument data that doesn't end within its frame, or is too long")
        headers: tuple[tuple[str, str], ...] = ()
        position = args_end
        if flags & _MAX_HEADER_COUNT_BITS:
            headers, position = _read_headers(frame, position, flags & _MAX_HEADER_COUNT_BITS)
        args = frame[args_start:args_end]
        return RpcMessage(method, related_id, flags >> 5, args, headers, unknown_hash), position


def _read_headers(frame: bytes, position: int, count: int) -> tuple[tuple[tuple[str, str], ...], int]:
    headers: list[tuple[str, str]] = []
    for _ in range(count):
        key_end = position + 1 + frame[position]
        key = frame[position + 1 : key_end].decode()
        size, value_start = read_leb128(frame, key_end)
        position = value_start + size
        if position > len(frame):
            raise RpcProtocolError("a header that doesn't end within its frame")
        headers.append((key, frame[value_start:position].decode()))
    return tuple(headers), position


@final
class MsgPack6C(MsgPack6):
    """`msgpack6c`: the compact form, with four-byte hashes in the place of method names."""

    key = "msgpack6c"

    def _write_method(self, buffer: bytearray, method: str) -> None:
        buffer += wire_hash(method)

    def _read_method(self, frame: bytes, position: int, names: MethodNames) -> tuple[str, int | None, int]:
        wire = frame[position : position + 4]
        if len(wire) < 4:
            raise RpcProtocolError("a method hash that doesn't end within its frame")
        name = names.find(wire)
        if name is None:
            return "", int.from_bytes(wire, "little"), position + 4
        return name, None, position + 4


_exception_decoder: Final = msgspec.msgpack.Decoder(ExceptionInfo)


@lru_cache(maxsize=4_096)
def _arguments(types: tuple[Any, ...]) -> ArgumentCodec:
    return _MsgPackArguments(types)
