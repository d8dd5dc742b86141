"""JSON formats: text message layout V3.

A message is its envelope as JSON, a line feed, and the arguments as JSON texts with 0x1F between them.
Messages of one frame have a line feed and 0x1E between them. No JSON writer puts these characters into a text.
"""

from typing import Any, Final, cast, final

import msgspec

from refusion.rpc._errors import RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo, info_from_fields
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._limits import DEFAULT_SIZES, SizeLimits
from refusion.rpc.protocol._message import Headers, RpcMessage
from refusion.rpc.protocol._method_names import MethodNames
from refusion.rpc.protocol._system_calls import RECONNECT

from ._conversion import DECODE_ERRORS
from ._format import TOO_MANY, ArgumentCodec, ReadResult, RpcFormat, check_headers, check_size, method_bytes
from ._json_arguments import encode_value, json_arguments, json_void

__all__ = ["Json5", "Json5NP"]

_MESSAGE_SEPARATOR: Final = b"\x1e"


class _Envelope(msgspec.Struct, rename="pascal", omit_defaults=True):
    """What a text message says before its arguments; names are case-sensitive, unlike those in arguments."""

    method: str = ""
    related_id: int | None = None
    call_type: int | None = None
    headers: list[str] = []


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


class Json5NP(RpcFormat):
    """`json5np`: text messages, values in JSON, without type names for polymorphic types."""

    key = "json5np"
    is_text = True

    def write(self, buffer: bytearray, message: RpcMessage, sizes: SizeLimits = DEFAULT_SIZES) -> None:
        method = message.method
        method_bytes(method, sizes.method_bytes)
        check_size(f"the argument data of {method}", len(message.args), sizes.argument_bytes)
        # Field by field as the TypeScript peer does: a call with an answer names its type, and only the
        # protocol's own messages may name no call.
        is_system = method.startswith("$")
        is_call = message.related_id != 0 and (not is_system or method == RECONNECT)
        envelope = _Envelope(
            method,
            message.related_id if message.related_id or not is_system else None,
            message.call_type if is_call else None,
        )
        if message.headers:
            check_headers(method, message.headers, sizes)
            envelope.headers = [text for header in message.headers for text in header]
        data = encode_value(envelope)
        check_size(f"the envelope of {method}", len(data), sizes.envelope_bytes)
        if buffer:
            buffer += b"\n\x1e"
        buffer += data
        buffer += b"\n"
        buffer += message.args

    def read(self, frame: bytes, names: MethodNames, sizes: SizeLimits = DEFAULT_SIZES) -> ReadResult:
        messages: list[RpcMessage] = []
        problem: RpcProtocolError | None = None
        limit = sizes.frame_messages
        parts = frame.split(_MESSAGE_SEPARATOR, limit)
        if len(parts) > limit:
            del parts[limit:]
            problem = RpcProtocolError(TOO_MANY.format(limit))
        for part in parts:
            text = part.lstrip(b"\n")
            if not text:
                continue
            try:
                messages.append(_read_message(text, sizes))
            except (*DECODE_ERRORS, RpcProtocolError) as error:
                # The separators keep one bad message from spoiling the others.
                problem = RpcProtocolError(f"malformed message {text[:40]!r}: {error}")
        return ReadResult(messages, problem)

    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        return json_arguments(types, has_markers=False)

    def result(self, result_type: Any) -> ArgumentCodec:
        return json_void if result_type is None or result_type is type(None) else super().result(result_type)

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
        return encode_value(fields)

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
        except DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed handshake: {error}") from error

    def decode_error(self, data: bytes) -> ExceptionInfo:
        try:
            return info_from_fields(_lower_keys(data))
        except DECODE_ERRORS as error:
            raise RpcProtocolError(f"malformed error: {error}") from error


@final
class Json5(Json5NP):
    """`json5`: text messages, values in JSON; a comment before a polymorphic value tells its type."""

    key = "json5"

    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        return json_arguments(types, has_markers=True)


def _lower_keys(data: bytes) -> dict[str, Any]:
    """Return a JSON object with its names in lower case: peers differ in how they write them."""
    return {key.lower(): value for key, value in msgspec.json.decode(data, type=dict[str, Any]).items()}


def _read_message(text: bytes, sizes: SizeLimits) -> RpcMessage:
    envelope_text, separator, args = text.partition(b"\n")
    if not separator:
        raise RpcProtocolError("there is no line feed behind the envelope")
    # One before the separator, and more are no part of any value.
    args = args.rstrip(b"\n")
    if len(envelope_text) > sizes.envelope_bytes or len(args) > sizes.argument_bytes:
        raise RpcProtocolError("it is longer than the limits allow")
    envelope = _decode_envelope(envelope_text)
    method, related_id, call_type = envelope.method, envelope.related_id or 0, envelope.call_type or 0
    if len(method) > sizes.method_bytes or len(method.encode()) > sizes.method_bytes:
        raise RpcProtocolError("its method has a longer name than the limits allow")
    if not 0 <= call_type <= 7 or not 0 <= related_id < 1 << 64:
        raise RpcProtocolError("its call type or id is out of range")
    headers = _headers_of(envelope.headers, sizes) if envelope.headers else ()
    return RpcMessage(method, related_id, call_type, args, headers)


def _headers_of(texts: list[str], sizes: SizeLimits) -> Headers:
    if len(texts) % 2 or len(texts) > 2 * sizes.headers:
        raise RpcProtocolError(f"{len(texts)} texts can't be pairs of header names and values")
    headers = tuple(zip(texts[::2], texts[1::2], strict=True))
    for name, value in headers:
        if len(name.encode()) > sizes.header_key_bytes or len(value.encode()) > sizes.header_value_bytes:
            raise RpcProtocolError("a header is longer than the limits allow")
    return headers
