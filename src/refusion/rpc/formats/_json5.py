"""JSON formats: text message layout V3.

A message is its envelope as JSON, a line feed, and the arguments as JSON texts with 0x1F between them.
Messages of one frame have a line feed and 0x1E between them. No JSON writer puts these characters into a text.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast, final

import msgspec

from refusion.rpc._errors import RpcArgumentError, RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES, MAX_ENVELOPE_BYTES, MAX_HEADERS
from refusion.rpc.protocol._message import Headers, RpcMessage
from refusion.rpc.protocol._method_names import MethodNames
from refusion.rpc.protocol._system_calls import RECONNECT

from ._conversion import argument_error, convert_leniently
from ._format import ArgumentCodec, ReadResult, RpcFormat, check_headers, check_size
from ._hooks import text_hooks

__all__ = ["Json5NP"]

_ARGUMENT_SEPARATOR: Final = b"\x1f"
_MESSAGE_SEPARATOR: Final = b"\x1e"
_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)
_VOID: Final = b"{}"

_to_wire, _from_wire = text_hooks
_encode: Final = msgspec.json.Encoder(enc_hook=_to_wire).encode


class _Envelope(msgspec.Struct, rename="pascal", omit_defaults=True):
    """What a text message says before its arguments; names are case-sensitive, unlike those in arguments."""

    method: str = ""
    related_id: int | None = None
    call_type: int | None = None
    headers: list[str] = []


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


@final
class _JsonArguments(ArgumentCodec):
    """One JSON text per value."""

    __slots__ = ("_decoders", "_types")

    def __init__(self, types: tuple[Any, ...]) -> None:
        self._types = types
        self._decoders = [msgspec.json.Decoder(type_, dec_hook=_from_wire).decode for type_ in types]

    def encode(self, values: Sequence[Any]) -> bytes:
        if len(values) != len(self._types):
            raise RpcArgumentError(f"{len(self._types)} values are declared and {len(values)} were given")
        try:
            data = _ARGUMENT_SEPARATOR.join([_encode(value) for value in values])
        except _ENCODE_ERRORS as error:
            raise RpcArgumentError(f"a value can't be written as JSON: {error}") from error
        check_size("the argument data", len(data), MAX_ARGUMENT_BYTES)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        texts = data.split(_ARGUMENT_SEPARATOR) if data else []
        if len(texts) < len(self._decoders):
            raise RpcArgumentError(f"{len(self._decoders)} values are declared and {len(texts)} were sent")
        # Not zip(strict=True): surplus values are ignored.
        return tuple([self._decode_one(index, texts[index]) for index in range(len(self._decoders))])

    def _decode_one(self, index: int, text: bytes) -> Any:
        try:
            return self._decoders[index](text)
        except msgspec.ValidationError as error:
            try:
                return convert_leniently(
                    [msgspec.json.decode(text)], tuple.__class_getitem__((self._types[index],)), is_json=True
                )[0]
            except _DECODE_ERRORS:
                raise RpcArgumentError(str(error), index) from None
        except _DECODE_ERRORS as error:
            raise RpcArgumentError(str(argument_error(error)), index) from None


@final
class _JsonVoid(ArgumentCodec):
    """The result of a method that has none: an empty object; readers take anything."""

    def encode(self, values: Sequence[Any]) -> bytes:
        return _VOID

    def decode(self, data: bytes) -> tuple[Any, ...]:
        return (None,)


class Json5NP(RpcFormat):
    """`json5np`: text messages, values in JSON, without type names for abstract types."""

    key = "json5np"
    is_text = True

    def write(self, buffer: bytearray, message: RpcMessage) -> None:
        check_headers(message)
        # Field by field as the TypeScript peer does: a call with an answer names its type, and only the
        # protocol's own messages may name no call.
        is_system = message.method.startswith("$")
        is_call = message.related_id != 0 and (not is_system or message.method == RECONNECT)
        envelope = _Envelope(
            message.method,
            message.related_id if message.related_id or not is_system else None,
            message.call_type if is_call else None,
        )
        if message.headers:
            envelope.headers = [text for header in message.headers for text in header]
        data = _encode(envelope)
        check_size(f"the envelope of {message.method}", len(data), MAX_ENVELOPE_BYTES)
        if buffer:
            buffer += b"\n\x1e"
        buffer += data
        buffer += b"\n"
        buffer += message.args

    def read(self, frame: bytes, names: MethodNames) -> ReadResult:
        messages: list[RpcMessage] = []
        problem: RpcProtocolError | None = None
        for part in frame.split(_MESSAGE_SEPARATOR):
            text = part.lstrip(b"\n")
            if not text:
                continue
            try:
                messages.append(_read_message(text))
            except (*_DECODE_ERRORS, RpcProtocolError) as error:
                # The separators keep one bad message from spoiling the others.
                problem = RpcProtocolError(f"malformed message {text[:40]!r}: {error}")
        return ReadResult(messages, problem)

    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        return _arguments(types)

    def result(self, result_type: Any) -> ArgumentCodec:
        return _void if result_type is None or result_type is type(None) else super().result(result_type)

    def encode_handshake(self, handshake: Handshake) -> bytes:
        fields: dict[str, Any] = {
            "RemotePeerId": handshake.remote_peer_id,
            "RemoteApiVersionSet": None if handshake.api_versions is None else {"Value": handshake.api_versions},
            "RemoteHubId": handshake.remote_hub_id,
            "ProtocolVersion": handshake.protocol_version,
            "Index": handshake.index,
        }
        if handshake.secret is not None:
            fields["Secret"] = handshake.secret
        return _encode(fields)

    def decode_handshake(self, data: bytes) -> Handshake:
        try:
            fields = _lower_keys(data)
            versions = fields.get("remoteapiversionset")
            if isinstance(versions, dict):
                versions = next(iter(cast(dict[str, Any], versions).values()), None)
            return msgspec.convert(
                {
                    "remote_peer_id": fields.get("remotepeerid"),
                    "remote_hub_id": fields.get("remotehubid"),
                    "index": fields.get("index"),
                    "protocol_version": fields.get("protocolversion"),
                    "api_versions": versions,
                    "secret": fields.get("secret"),
                },
                Handshake,
            )
        except _DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed handshake: {error}") from error

    def decode_error(self, data: bytes) -> ExceptionInfo:
        try:
            fields = _lower_keys(data)
            return ExceptionInfo(str(fields.get("typeref") or ""), str(fields.get("message") or ""))
        except _DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed error: {error}") from error


_void: Final = _JsonVoid()


def _lower_keys(data: bytes) -> dict[str, Any]:
    """Return a JSON object with its names in lower case: peers differ in how they write them."""
    return {key.lower(): value for key, value in msgspec.json.decode(data, type=dict[str, Any]).items()}


def _read_message(text: bytes) -> RpcMessage:
    envelope_text, separator, args = text.partition(b"\n")
    if not separator:
        raise RpcProtocolError("there is no line feed behind the envelope")
    if len(envelope_text) > MAX_ENVELOPE_BYTES or len(args) > MAX_ARGUMENT_BYTES:
        raise RpcProtocolError("it is longer than the protocol allows")
    envelope = _decode_envelope(envelope_text)
    if args.endswith(b"\n"):
        args = args[:-1]
    related_id, call_type = envelope.related_id or 0, envelope.call_type or 0
    if not 0 <= call_type <= 7 or related_id < 0:
        raise RpcProtocolError("its call type or id is out of range")
    return RpcMessage(envelope.method, related_id, call_type, bytes(args), _headers_of(envelope.headers))


def _headers_of(texts: list[str]) -> Headers:
    if not texts:
        return ()
    if len(texts) % 2 or len(texts) > 2 * MAX_HEADERS:
        raise RpcProtocolError(f"{len(texts)} texts can't be pairs of header names and values")
    return tuple(zip(texts[::2], texts[1::2], strict=True))


@lru_cache(maxsize=4_096)
def _arguments(types: tuple[Any, ...]) -> ArgumentCodec:
    return _JsonArguments(types)
