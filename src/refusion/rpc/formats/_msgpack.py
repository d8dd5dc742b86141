"""MessagePack formats: binary message layout V5, with method names or, compact, with their hashes.

A message is a byte of flags, the id as LEB128, the method, the size of the argument data in four bytes, the data,
and the headers. `write` and `read` run for every message of every peer: they do all of it in one go.
"""

import struct
from functools import lru_cache
from typing import Any, Final

import msgspec

from refusion.rpc._errors import RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._leb128 import read_leb128, write_leb128
from refusion.rpc.protocol._limits import DEFAULT_SIZES, SizeLimits
from refusion.rpc.protocol._message import Headers, RpcMessage
from refusion.rpc.protocol._method_names import MethodNames, wire_hash

from ._conversion import DECODE_ERRORS
from ._format import TOO_MANY, ArgumentCodec, ReadResult, RpcFormat, check_headers, check_size, method_bytes
from ._msgpack_arguments import encode_value, msgpack_arguments

__all__ = ["MsgPack6", "MsgPack6C"]

_HEADER_COUNT: Final = 0x1F
_unpack_size: Final = struct.Struct("<I").unpack_from
_unpack_hash_and_size: Final = struct.Struct("<4sI").unpack_from
_pack_size: Final = struct.Struct("<I").pack
_READ_ERRORS: Final = (RpcProtocolError, UnicodeDecodeError, IndexError, struct.error)

_decode_exception: Final = msgspec.msgpack.Decoder(ExceptionInfo).decode


@lru_cache(maxsize=4_096)
def _name_field(name: str, limit: int) -> bytes:
    data = method_bytes(name, limit)
    field = bytearray()
    write_leb128(field, len(data))
    return bytes(field + data)


@lru_cache(maxsize=4_096)
def _hash_field(name: str, limit: int) -> bytes:
    method_bytes(name, limit)
    return wire_hash(name)


class MsgPack6(RpcFormat):
    """`msgpack6`: binary messages with method names, values in MessagePack."""

    key = "msgpack6"
    is_text = False

    _method_field = staticmethod(_name_field)

    def write(self, buffer: bytearray, message: RpcMessage, sizes: SizeLimits = DEFAULT_SIZES) -> None:
        args = message.args
        size = len(args)
        if size > sizes.argument_bytes:
            check_size(f"the argument data of {message.method}", size, sizes.argument_bytes)
        method = self._method_field(message.method, sizes.method_bytes)
        headers = message.headers
        if headers:
            check_headers(message.method, headers, sizes)
            buffer.append(message.call_type << 5 | len(headers))
        else:
            buffer.append(message.call_type << 5)
        related_id = message.related_id
        while related_id > 0x7F:
            buffer.append(related_id & 0x7F | 0x80)
            related_id >>= 7
        buffer.append(related_id)
        buffer += method
        buffer += _pack_size(size)
        buffer += args
        if headers:
            _write_headers(buffer, headers)

    def read(self, frame: bytes, names: MethodNames, sizes: SizeLimits = DEFAULT_SIZES) -> ReadResult:
        messages: list[RpcMessage] = []
        start, frame_end = 0, len(frame)
        method_limit, args_limit, message_limit = sizes.method_bytes, sizes.argument_bytes, sizes.frame_messages
        try:
            while start < frame_end:
                if len(messages) == message_limit:
                    raise RpcProtocolError(TOO_MANY.format(message_limit))
                flags, related_id = frame[start], frame[start + 1]
                position = start + 2
                if related_id > 0x7F:
                    # Ids of two and of three bytes are nearly all there are.
                    second, third = frame[position], frame[position + 1]
                    if second < 0x80:
                        related_id = related_id & 0x7F | second << 7
                        position += 1
                    elif third < 0x80:
                        related_id = related_id & 0x7F | (second & 0x7F) << 7 | third << 14
                        position += 2
                    else:
                        related_id, position = read_leb128(frame, start + 1)
                method_size = frame[position]
                position += 1
                if method_size > 0x7F:
                    method_size, position = read_leb128(frame, position - 1)
                args_start = position + method_size + 4
                if method_size > method_limit or args_start > frame_end:
                    raise RpcProtocolError(f"a method name of {method_size} bytes")
                method = frame[position : args_start - 4].decode()
                args_size = _unpack_size(frame, args_start - 4)[0]
                end = args_end = args_start + args_size
                if args_end > frame_end or args_size > args_limit:
                    raise RpcProtocolError(_ARGUMENTS.format(args_size))
                headers: Headers = ()
                if flags & _HEADER_COUNT:
                    headers, end = _read_headers(frame, args_end, flags & _HEADER_COUNT, sizes)
                messages.append(RpcMessage(method, related_id, flags >> 5, frame[args_start:args_end], headers))
                start = end
        except _READ_ERRORS as error:
            return ReadResult(messages, RpcProtocolError(f"malformed message at byte {start} of a frame: {error}"))
        return ReadResult(messages, None)

    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        return msgpack_arguments(types)

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
        return encode_value(fields)

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
        except (*DECODE_ERRORS, TypeError, LookupError) as error:
            raise RpcProtocolError(f"malformed handshake: {error}") from error

    def decode_error(self, data: bytes) -> ExceptionInfo:
        try:
            return _decode_exception(data)
        except DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed error: {error}") from error


class MsgPack6C(MsgPack6):
    """`msgpack6c`: the compact form, with four-byte hashes in the place of method names."""

    key = "msgpack6c"

    _method_field = staticmethod(_hash_field)

    def read(self, frame: bytes, names: MethodNames, sizes: SizeLimits = DEFAULT_SIZES) -> ReadResult:
        messages: list[RpcMessage] = []
        append, find = messages.append, names.find
        start, frame_end = 0, len(frame)
        args_limit, message_limit = sizes.argument_bytes, sizes.frame_messages
        try:
            while start < frame_end:
                if len(messages) == message_limit:
                    raise RpcProtocolError(TOO_MANY.format(message_limit))
                flags, related_id = frame[start], frame[start + 1]
                position = start + 2
                if related_id > 0x7F:
                    # Ids of two and of three bytes are nearly all there are.
                    second, third = frame[position], frame[position + 1]
                    if second < 0x80:
                        related_id = related_id & 0x7F | second << 7
                        position += 1
                    elif third < 0x80:
                        related_id = related_id & 0x7F | (second & 0x7F) << 7 | third << 14
                        position += 2
                    else:
                        related_id, position = read_leb128(frame, start + 1)
                wire, args_size = _unpack_hash_and_size(frame, position)
                position += 8
                end = position + args_size
                if end > frame_end or args_size > args_limit:
                    raise RpcProtocolError(_ARGUMENTS.format(args_size))
                method = find(wire)
                if method is not None and not flags & _HEADER_COUNT:
                    append(RpcMessage(method, related_id, flags >> 5, frame[position:end]))
                else:
                    args = frame[position:end]
                    headers: Headers = ()
                    if flags & _HEADER_COUNT:
                        headers, end = _read_headers(frame, end, flags & _HEADER_COUNT, sizes)
                    unknown = int.from_bytes(wire, "little") if method is None else None
                    append(RpcMessage(method or "", related_id, flags >> 5, args, headers, unknown))
                start = end
        except _READ_ERRORS as error:
            return ReadResult(messages, RpcProtocolError(f"malformed message at byte {start} of a frame: {error}"))
        return ReadResult(messages, None)


_ARGUMENTS: Final = "argument data of {} bytes, which doesn't end within its frame or is too long"


def _write_headers(buffer: bytearray, headers: Headers) -> None:
    for name, value in headers:
        data = name.encode()
        buffer.append(len(data))
        buffer += data
        data = value.encode()
        write_leb128(buffer, len(data))
        buffer += data


def _read_headers(frame: bytes, position: int, count: int, sizes: SizeLimits) -> tuple[Headers, int]:
    if count > sizes.headers:
        raise RpcProtocolError(f"{count} headers, and {sizes.headers} is the limit")
    headers: list[tuple[str, str]] = []
    for _ in range(count):
        key_size = frame[position]
        key_end = position + 1 + key_size
        key = frame[position + 1 : key_end].decode()
        size, value_start = read_leb128(frame, key_end)
        position = value_start + size
        if position > len(frame):
            raise RpcProtocolError("a header that doesn't end within its frame")
        if key_size > sizes.header_key_bytes or size > sizes.header_value_bytes:
            raise RpcProtocolError(f"a header of {key_size} and {size} bytes, which is too long")
        headers.append((key, frame[value_start:position].decode()))
    return tuple(headers), position
