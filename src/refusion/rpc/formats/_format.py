"""What a wire format has to offer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from refusion.rpc._errors import RpcLimitExceeded, RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._limits import (
    MAX_ARGUMENT_BYTES,
    MAX_HEADER_KEY_BYTES,
    MAX_HEADER_VALUE_BYTES,
    MAX_HEADERS,
    MAX_METHOD_BYTES,
)
from refusion.rpc.protocol._message import Headers, RpcMessage
from refusion.rpc.protocol._method_names import MethodNames

__all__ = ["ArgumentCodec", "ReadResult", "RpcFormat", "check_headers", "check_size"]


class ReadResult(NamedTuple):
    """What was in a frame."""

    messages: list[RpcMessage]
    """The messages that could be read, in order."""

    problem: RpcProtocolError | None
    """Why the rest couldn't."""


class ArgumentCodec(Protocol):
    """Encodes and decodes the values of one list of types."""

    def encode(self, values: Sequence[Any]) -> bytes:
        """Return the argument data for `values`.

        Raises:
            RpcArgumentError: If a value can't be encoded.
            RpcLimitExceeded: If the data is too large for a message.
        """
        ...

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values in argument data; surplus ones are ignored.

        Raises:
            RpcArgumentError: If the data doesn't fit the types; names the argument and the path in it.
        """
        ...


class RpcFormat(ABC):
    """A wire format: how messages are laid out in a frame, and how values are encoded.

    Formats have no state and may be used by any number of peers and threads.
    """

    key: ClassVar[str]
    """The name that client and server know it by."""

    is_text: ClassVar[bool]
    """Whether frames are sent as text messages of a WebSocket."""

    @abstractmethod
    def write(self, buffer: bytearray, message: RpcMessage) -> None:
        """Append a message to a frame.

        Raises:
            RpcLimitExceeded: If it is larger than the protocol allows; the buffer is unchanged then.
        """

    @abstractmethod
    def read(self, frame: bytes, names: MethodNames) -> ReadResult:
        """Return the messages in a frame; never raises for bad input."""

    @abstractmethod
    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        """Return the codec for values of these types; it is made once."""

    def result(self, result_type: Any) -> ArgumentCodec:
        """Return the codec for the result of a method; that of a method without a result gives None."""
        return self.arguments((result_type,))

    @abstractmethod
    def encode_handshake(self, handshake: Handshake) -> bytes:
        """Return the argument data of a handshake."""

    @abstractmethod
    def decode_handshake(self, data: bytes) -> Handshake:
        """Return a handshake from its argument data; raises `RpcProtocolError`."""

    @abstractmethod
    def decode_error(self, data: bytes) -> ExceptionInfo:
        """Return an error from its argument data; raises `RpcProtocolError`."""

    def encode_error(self, error: ExceptionInfo) -> bytes:
        """Return the argument data of an error."""
        return self.arguments((ExceptionInfo,)).encode((error,))


def check_size(what: str, size: int, limit: int) -> None:
    """Refuse what is larger than the protocol allows."""
    if size > limit:
        raise RpcLimitExceeded(what, size, limit)


def check_headers(message: RpcMessage) -> None:
    """Refuse a message that can't be sent because of its sizes."""
    check_size(f"the name of {message.method[:40]!r}…", len(message.method.encode()), MAX_METHOD_BYTES)
    check_size(f"the argument data of {message.method}", len(message.args), MAX_ARGUMENT_BYTES)
    if message.headers:
        _check_header_sizes(message.method, message.headers)


def _check_header_sizes(method: str, headers: Headers) -> None:
    if len(headers) > MAX_HEADERS:
        raise RpcProtocolError(f"{method} has {len(headers)} headers and {MAX_HEADERS} is the limit")
    for name, value in headers:
        check_size(f"a header name of {method}", len(name.encode()), MAX_HEADER_KEY_BYTES)
        check_size(f"header {name!r} of {method}", len(value.encode()), MAX_HEADER_VALUE_BYTES)
