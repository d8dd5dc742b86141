"""Argument data in JSON: one text per value, with 0x1F between them, which no JSON writer puts into a text."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final, final

import msgspec

from refusion.rpc._errors import RpcArgumentError
from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES

from ._conversion import ENCODE_ERRORS, Conversion, argument_error
from ._declared import Declared
from ._format import ArgumentCodec, check_size
from ._hooks import text_hooks
from ._polymorphism import Polymorphic, polymorphic
from ._readers import Untyped

__all__ = ["encode_value", "json_arguments", "json_void"]

_SEPARATOR: Final = b"\x1f"
_to_wire, _from_wire = text_hooks
encode_value: Final = msgspec.json.Encoder(enc_hook=_to_wire, decimal_format="number").encode
_encode_binary: Final = msgspec.msgpack.Encoder(enc_hook=_to_wire).encode
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_decode_untyped: Final = msgspec.json.Decoder().decode
_decode_untyped_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class _Value(ABC):
    """Encodes and decodes one value."""

    __slots__ = ()

    @abstractmethod
    def encode(self, value: Any, *, is_last: bool) -> bytes:
        """Return its text; raises `RpcArgumentError`."""

    @abstractmethod
    def decode(self, text: bytes) -> Any:
        """Return the value of a text; raises `RpcArgumentError`."""


@final
class _Plain(_Value):
    """A value of a definite type."""

    __slots__ = (
        "_conversion",
        "_decode_untyped",
        "decode_typed",
        "is_spelled_otherwise",
        "may_have_decimals",
        "may_have_floats",
        "must_convert",
        "must_write_spans",
    )

    def __init__(self, type_: Any) -> None:
        declared = Declared(type_, is_text=True)
        self.decode_typed = msgspec.json.Decoder(type_, dec_hook=_from_wire).decode
        self._decode_untyped = _decode_untyped_exactly if declared.has_decimals else _decode_untyped
        self._conversion = Conversion(declared)
        self.is_spelled_otherwise = declared.is_spelled_otherwise
        self.may_have_decimals = declared.may_have_decimals
        self.may_have_floats = declared.may_have_floats
        self.must_convert = declared.must_convert
        self.must_write_spans = declared.has_spans

    def encode(self, value: Any, *, is_last: bool = True) -> bytes:
        try:
            data = encode_value(self._conversion.write(value) if self.must_write_spans else value)
            if _is_suspicious(data, self.may_have_floats, self.may_have_decimals) and _may_be_infinite(value):
                _check_finite(self._conversion.untyped(value), "")
        except ENCODE_ERRORS as error:
            raise RpcArgumentError(f"a value can't be written as JSON: {error}") from error
        return data

    def decode(self, text: bytes) -> Any:
        if self.must_convert or (self.is_spelled_otherwise is not None and self.is_spelled_otherwise(text)):
            return self._convert(text)
        try:
            return self.decode_typed(text)
        except msgspec.ValidationError:
            return self._convert(text)
        except Exception as error:
            # Not only what msgspec raises: a class of the user's may raise anything when it is made.
            raise argument_error(error, 0) from error

    def _convert(self, text: bytes) -> Any:
        try:
            return self._conversion.read(self._decode_untyped(text))
        except Exception as error:
            raise argument_error(error, 0) from error


class _Unmarked(_Value):
    """A value whose declared type leaves open what it is, in a format that can't say it."""

    __slots__ = ("_declared",)

    def __init__(self, declared: Polymorphic) -> None:
        self._declared = declared

    def encode(self, value: Any, *, is_last: bool) -> bytes:
        name, type_ = self._declared.type_of(value)
        if name is not None:
            raise RpcArgumentError(
                f"a `{type(value).__qualname__}` is sent as `{self._declared}`, and this format can't tell which type "
                "it is; use json5 or msgpack6c, or declare a definite type"
            )
        return b"null" if type_ is None else _plain(type_).encode(value)

    def decode(self, text: bytes) -> Any:
        if text == b"null":
            self._declared.check_null()
            return None
        return _plain(self._declared.plain_type()).decode(text)


@final
class _Marked(_Unmarked):
    """A value whose declared type leaves open what it is: a comment before it tells."""

    __slots__ = ()

    def encode(self, value: Any, *, is_last: bool) -> bytes:
        name, type_ = self._declared.type_of(value)
        if type_ is None:
            # .NET finds the value that follows only if this one isn't just a comment.
            return b"/* @=0 */" if is_last else b"/* @= */null"
        return b"/* @=%b */%b" % (b"" if name is None else name.encode(), _plain(type_).encode(value))

    def decode(self, text: bytes) -> Any:
        if not text.startswith(b"/* @="):
            # A peer without types has written it, as TypeScript's.
            return super().decode(text)
        name, end, rest = text[5:].partition(b" */")
        if not end:
            raise RpcArgumentError("the name of its type doesn't end")
        if name == b"0" or (name == b"" and rest == b"null"):
            self._declared.check_null()
            return None
        type_ = self._declared.type_named(name.decode(errors="replace")) if name else self._declared.declared_type()
        return _plain(type_).decode(rest)


@final
class _JsonArguments(ArgumentCodec):
    """One text per value. What needs no help of ours is left to msgspec, all values in one go."""

    __slots__ = ("_checks", "_decoders", "_is_simple_to_write", "_may_have_decimals", "_may_have_floats", "_values")

    def __init__(self, values: list[_Value]) -> None:
        self._values = values
        plain = [value for value in values if isinstance(value, _Plain)]
        is_plain = len(plain) == len(values)
        self._is_simple_to_write = is_plain and not any(value.must_write_spans for value in plain)
        self._may_have_floats = any(value.may_have_floats for value in plain)
        self._may_have_decimals = any(value.may_have_decimals for value in plain)
        is_simple_to_read = is_plain and not any(value.must_convert for value in plain)
        self._decoders = list(enumerate(value.decode_typed for value in plain)) if is_simple_to_read else None
        self._checks = [
            (index, value.is_spelled_otherwise)
            for index, value in enumerate(plain)
            if value.is_spelled_otherwise is not None
        ]

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        if len(values) != len(self._values):
            raise RpcArgumentError(f"{len(self._values)} values are declared and {len(values)} were given")
        data: bytes | None = None
        if self._is_simple_to_write:
            try:
                data = _SEPARATOR.join([encode_value(value) for value in values])
            except ENCODE_ERRORS:
                # One by one it will be known which it is.
                pass
        if data is None or _is_suspicious(data, self._may_have_floats, self._may_have_decimals):
            data = self._encode_each(values)
        if len(data) > max_bytes:
            check_size("the argument data", len(data), max_bytes)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        texts = data.split(_SEPARATOR) if data else []
        if len(texts) < len(self._values):
            raise RpcArgumentError(f"{len(self._values)} values are declared and {len(texts)} were sent")
        if self._decoders is not None and not (
            self._checks and any(check(texts[index]) for index, check in self._checks)
        ):
            try:
                return tuple([decode(texts[index]) for index, decode in self._decoders])
            except Exception:  # noqa: S110  # whatever it was, it is met again
                pass
        values: list[Any] = []
        # Not zip(strict=True): surplus values are ignored.
        for index, (value, text) in enumerate(zip(self._values, texts, strict=False)):
            try:
                values.append(value.decode(text))
            except RpcArgumentError as error:
                raise RpcArgumentError(error.problem, index) from error.__cause__
        return tuple(values)

    def _encode_each(self, values: Sequence[Any]) -> bytes:
        texts: list[bytes] = []
        for index, (codec, value) in enumerate(zip(self._values, values, strict=True)):
            try:
                texts.append(codec.encode(value, is_last=index == len(values) - 1))
            except RpcArgumentError as error:
                raise RpcArgumentError(error.problem, index) from error.__cause__
        return _SEPARATOR.join(texts)


@final
class _JsonVoid(ArgumentCodec):
    """The result of a method that has none: an empty object; readers take anything."""

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        return b"{}"

    def decode(self, data: bytes) -> tuple[Any, ...]:
        return (None,)


json_void: Final = _JsonVoid()


@lru_cache(maxsize=4_096)
def json_arguments(types: tuple[Any, ...], *, has_markers: bool) -> ArgumentCodec:
    """Return the codec for values of these types; with markers it tells the type of polymorphic ones."""
    kind = _Marked if has_markers else _Unmarked
    values: list[_Value] = []
    for type_ in types:
        declared = polymorphic(type_)
        values.append(_plain(type_) if declared is None else kind(declared))
    return _JsonArguments(values)


@lru_cache(maxsize=4_096)
def _plain(type_: Any) -> _Plain:
    return _Plain(type_)


def _is_suspicious(data: bytes, may_have_floats: bool, may_have_decimals: bool) -> bool:  # hot
    """Tell whether there may have been a number that JSON doesn't know: msgspec writes null for such a float."""
    if may_have_floats and b"null" in data:
        return True
    return may_have_decimals and (b"NaN" in data or b"Infinity" in data)


def _may_be_infinite(value: Any) -> bool:
    """Tell whether there may be such a float; in MessagePack it can be seen, if not for sure."""
    try:
        data = _encode_binary(value)
    except ENCODE_ERRORS:
        return True
    return _NOT_FINITE.search(data) is not None or b"NaN" in data or b"Infinity" in data


def _check_finite(tree: Untyped | tuple[Any, ...], path: str) -> None:
    if isinstance(tree, (float, Decimal)):
        if not isfinite(tree):
            raise ValueError(f"{tree} isn't a number that JSON knows{f' at {path.lstrip(chr(46))}' if path else ''}")
    elif isinstance(tree, dict):
        for key, value in tree.items():
            _check_finite(value, f"{path}.{key}")
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            _check_finite(value, f"{path}[{index}]")
