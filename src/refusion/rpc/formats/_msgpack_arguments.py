"""Argument data in MessagePack: values one after another, without an array header around them."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, final

import msgspec

from refusion.rpc._errors import RpcArgumentError
from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES

from ._conversion import DECODE_ERRORS, ENCODE_ERRORS, Conversion, argument_error
from ._declared import Declared
from ._format import ArgumentCodec, check_size
from ._hooks import binary_hooks
from ._msgpack_bytes import BytesArgument
from ._msgpack_untyped import check_untyped
from ._msgpack_values import value_end
from ._polymorphism import Polymorphic, polymorphic
from ._type_names import type_name_hash

__all__ = ["encode_value", "msgpack_arguments"]

_to_wire, _from_wire = binary_hooks
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_to_wire)
encode_value: Final = _encoder.encode
_decode_untyped: Final = msgspec.msgpack.Decoder().decode


@lru_cache(maxsize=4_096)
def msgpack_arguments(types: tuple[Any, ...]) -> ArgumentCodec:
    """Return the codec for values of these types."""
    if any(polymorphic(type_) is not None for type_ in types):
        return _MarkedArguments(types)
    return BytesArgument(_plain(types)) if types == (bytes,) else _plain(types)


@lru_cache(maxsize=4_096)
def _plain(types: tuple[Any, ...]) -> "_PlainArguments":
    return _PlainArguments(types)


@final
class _PlainArguments(ArgumentCodec):
    """All values at once.

    For msgspec the array header is put in front, so that all values are decoded in one typed step.
    """

    __slots__ = ("_conversion", "_count", "_decode", "_decode_typed", "_header", "_header_size", "_must_write_spans")

    def __init__(self, types: tuple[Any, ...]) -> None:
        type_: Any = tuple.__class_getitem__(types)
        declared = Declared(type_, is_text=False)
        self._count = len(types)
        self._header = _array_header(len(types))
        self._header_size = len(self._header)
        self._must_write_spans = declared.has_spans
        self._conversion = Conversion(declared)
        decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(type_, dec_hook=_from_wire)
        self._decode_typed: Callable[[bytes], tuple[Any, ...]] = decoder.decode
        self._decode: Callable[[bytes], tuple[Any, ...]] = self._decode_typed
        if declared.must_convert:
            self._decode = self._decode_untyped
        elif declared.has_anything:
            self._decode = self._decode_anything

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        if len(values) != self._count:
            raise RpcArgumentError(f"{self._count} values are declared and {len(values)} were given")
        if not isinstance(values, (tuple, list)):
            values = tuple(values)
        try:
            if self._must_write_spans:
                values = self._conversion.write(values)
            data = encode_value(values)[self._header_size :]
        except ENCODE_ERRORS as error:
            raise self._encode_error(values, error) from error
        if len(data) > max_bytes:
            check_size("the argument data", len(data), max_bytes)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            values: tuple[Any, ...] = self._decode(self._header + data)
        except RpcArgumentError:
            raise
        except Exception as error:
            # Not only what msgspec raises: a class of the user's may raise anything when it is made.
            return self._decode_again(data, error)
        return values

    def _decode_anything(self, data: bytes) -> tuple[Any, ...]:
        check_untyped(data)
        return self._decode_typed(data)

    def _decode_untyped(self, data: bytes) -> tuple[Any, ...]:
        check_untyped(data)
        values: tuple[Any, ...] = self._conversion.read(_decode_untyped(data))
        return values

    def _decode_again(self, data: bytes, error: Exception) -> tuple[Any, ...]:
        """Decode value by value, knowing that decoding all of them at once has failed."""
        check_untyped(data)
        try:
            values = _split(data, self._count)
        except DECODE_ERRORS as second:
            raise argument_error(second) from second
        if len(values) < self._count:
            raise RpcArgumentError(f"{self._count} values are declared and {len(values)} were sent")
        try:
            converted: tuple[Any, ...] = self._conversion.read(values)
        except Exception as second:
            raise argument_error(second) from second
        return converted

    def _encode_error(self, values: Sequence[Any], error: Exception) -> RpcArgumentError:
        index: int | None = None
        for position, value in enumerate(values):
            try:
                encode_value(self._conversion.write(value))
            except ENCODE_ERRORS:
                index = position
                break
        return RpcArgumentError(f"a value can't be written as MessagePack: {error}", index)


@final
class _MarkedArguments(ArgumentCodec):
    """Value by value: before a polymorphic one stands a marker that says which type it has.

    A marker is a length of 16 bits: 0 for the declared type, 1 for null, or that of a type name; a hash of the
    name and the name follow.
    """

    __slots__ = ("_codecs", "_types")

    def __init__(self, types: tuple[Any, ...]) -> None:
        self._types = types
        self._codecs: list[Polymorphic | ArgumentCodec] = [polymorphic(type_) or _plain((type_,)) for type_ in types]

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        if len(values) != len(self._codecs):
            raise RpcArgumentError(f"{len(self._codecs)} values are declared and {len(values)} were given")
        data = bytearray()
        for index, (codec, value) in enumerate(zip(self._codecs, values, strict=True)):
            try:
                if isinstance(codec, Polymorphic):
                    data += _encode_marked(codec, value)
                else:
                    data += codec.encode((value,))
            except RpcArgumentError as error:
                raise RpcArgumentError(error.problem, index) from error
        check_size("the argument data", len(data), max_bytes)
        return bytes(data)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        values: list[Any] = []
        position, last = 0, len(self._codecs) - 1
        for index, codec in enumerate(self._codecs):
            if position >= len(data):
                raise RpcArgumentError(f"{len(self._codecs)} values are declared and {index} were sent")
            try:
                if isinstance(codec, Polymorphic):
                    type_, position = _read_marker(codec, data, position)
                    if type_ is None:
                        values.append(None)
                        continue
                    codec = _plain((type_,))
                # Behind the last value there may be surplus ones, which its codec knows how to ignore.
                end = len(data) if index == last else value_end(data, position)
                values += codec.decode(data[position:end])
                position = end
            except RpcArgumentError as error:
                raise RpcArgumentError(error.problem, index) from error
        return tuple(values)


def _encode_marked(declared: Polymorphic, value: Any) -> bytes:
    name, type_ = declared.type_of(value)
    if type_ is None:
        return b"\x01\x00"
    data = _plain((type_,)).encode((value,))
    return (b"\x00\x00" if name is None else _marker(name)) + data


@lru_cache(maxsize=1_024)
def _marker(name: str) -> bytes:
    data = name.encode()
    return len(data).to_bytes(2, "little") + type_name_hash(data) + data


def _read_marker(declared: Polymorphic, data: bytes, position: int) -> tuple[Any, int]:
    """Return the type that a value has, None for null, and where the value begins."""
    if len(data) < position + 2:
        raise RpcArgumentError("the name of its type doesn't end within the data")
    size = int.from_bytes(data[position : position + 2], "little")
    name_start = position + 4
    if size == 0:
        return declared.declared_type(), position + 2
    if size == 1:
        declared.check_null()
        return None, position + 2
    name = data[name_start : name_start + size]
    if len(name) < size:
        raise RpcArgumentError("the name of its type doesn't end within the data")
    if data[position + 2 : name_start] != type_name_hash(name):
        raise RpcArgumentError("the hash of its type's name is another one")
    return declared.type_named(name.decode(errors="replace")), name_start + size


def _split(data: bytes, count: int) -> list[Any]:
    """Return the first values in argument data, untyped; fewer if there are fewer."""
    try:
        values: list[Any] = _decode_untyped(_array_header(count) + data)
    except DECODE_ERRORS:
        # Perhaps there are just more values, or fewer.
        end = found = 0
        while found < count and end < len(data):
            end = value_end(data, end)
            found += 1
        values = _decode_untyped(_array_header(found) + data[:end])
    return values


def _array_header(count: int) -> bytes:
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
