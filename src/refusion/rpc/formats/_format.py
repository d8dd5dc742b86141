"""What a wire format has to offer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from refusion.rpc._errors import RpcArgumentError, RpcLimitExceeded, RpcProtocolError
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._handshake import Handshake
from refusion.rpc.protocol._limits import DEFAULT_SIZES, MAX_ARGUMENT_BYTES, SizeLimits
from refusion.rpc.protocol._message import Headers, RpcMessage
from refusion.rpc.protocol._method_names import MethodNames

from ._frames import FrameDecoder, FrameEncoder

__all__ = ["TOO_MANY", "ArgumentCodec", "ReadResult", "RpcFormat", "check_headers", "check_size", "method_bytes"]


TOO_MANY: Final = "more than {} messages in a frame"


class ReadResult(NamedTuple):
    """What was in a frame."""

    messages: list[RpcMessage]
    """The messages that could be read, in order."""

    problem: RpcProtocolError | None
    """Why the rest couldn't."""


class ArgumentCodec(Protocol):
    """Encodes and decodes the values of one list of types."""

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        """Return the argument data for `values`.

        Raises:
            RpcArgumentError: If a value can't be encoded; says which.
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

    Formats have no state and may be used by any number of peers and threads. One of your own needs `key`,
    `is_text`, `write`, `read` and `arguments`; `register_format` makes it known.
    """

    key: ClassVar[str]
    """The name that client and server know it by."""

    is_text: ClassVar[bool]
    """Whether frames are sent as text messages of a WebSocket."""

    @abstractmethod
    def write(self, buffer: bytearray, message: RpcMessage, sizes: SizeLimits = DEFAULT_SIZES) -> None:
        """Append a message to a frame.

        Raises:
            RpcLimitExceeded: If it is larger than `sizes` allow; the buffer is unchanged then.
        """

    @abstractmethod
    def read(self, frame: bytes, names: MethodNames, sizes: SizeLimits = DEFAULT_SIZES) -> ReadResult:
        """Return the messages in a frame; never raises for bad input, as which a message over `sizes` counts."""

    @abstractmethod
    def arguments(self, types: tuple[Any, ...]) -> ArgumentCodec:
        """Return the codec for values of these types; it is made once.

        Raises:
            TypeError: If no value of one of the types can be sent.
        """

    def result(self, result_type: Any) -> ArgumentCodec:
        """Return the codec for the result of a method; that of a method without a result gives None."""
        return self.arguments((result_type,))

    def item(self, item_type: Any) -> ArgumentCodec:
        """Return the codec for an item of a stream, and its index before it."""
        return self.arguments((int, item_type))

    def batch(self, item_type: Any) -> ArgumentCodec:
        """Return the codec for a list of items of a stream, and the index of the first one before it.

        If the item type `is_polymorphic`, the items of a batch are of one class, None among them or not.
        """
        return self.arguments((int, list.__class_getitem__(item_type)))

    def encode_handshake(self, handshake: Handshake) -> bytes:
        """Return the argument data of a handshake."""
        return self.arguments((Handshake,)).encode((handshake,))

    def decode_handshake(self, data: bytes) -> Handshake:
        """Return a handshake from its argument data; raises `RpcProtocolError`."""
        handshake: Handshake = self._decode_own(Handshake, data)
        return handshake

    def encode_error(self, error: ExceptionInfo) -> bytes:
        """Return the argument data of an error."""
        return self.arguments((ExceptionInfo,)).encode((error,))

    def decode_error(self, data: bytes) -> ExceptionInfo:
        """Return an error from its argument data; raises `RpcProtocolError`."""
        error: ExceptionInfo = self._decode_own(ExceptionInfo, data)
        return error

    def frame_encoder(self, *, is_server: bool) -> FrameEncoder | None:
        """Return what a side packs the frames of one connection with; None if it sends them as they are."""
        return None

    def frame_decoder(self, *, is_server: bool) -> FrameDecoder | None:
        """Return what a side unpacks the frames of one connection with; None if it gets them as they are."""
        return None

    def _decode_own(self, type_: Any, data: bytes) -> Any:
        try:
            return self.arguments((type_,)).decode(data)[0]
        except RpcArgumentError as error:
            raise RpcProtocolError(f"malformed {type_.__name__.lower()}: {error.problem}") from error


def check_size(what: str, size: int, limit: int) -> None:
    """Refuse what is larger than the protocol, or this side, allows."""
    if size > limit:
        raise RpcLimitExceeded(what, size, limit)


@lru_cache(maxsize=4_096)
def method_bytes(name: str, limit: int) -> bytes:
    """Return a wire name as it is sent; those that are too long aren't remembered."""
    data = name.encode()
    check_size(f"the name of {name[:40]!r}…", len(data), limit)
    return data


def check_headers(method: str, headers: Headers, sizes: SizeLimits) -> None:
    """Refuse headers that can't be sent.

    Raises:
        RpcProtocolError: If they are too many.
        RpcArgumentError: If one is no text that has a UTF-8 form.
        RpcLimitExceeded: If one is too long.
    """
    if len(headers) > sizes.headers:
        raise RpcProtocolError(f"{method} has {len(headers)} headers and {sizes.headers} is the limit")
    for name, value in headers:
        try:
            name_size, value_size = len(name.encode()), len(value.encode())
        except (UnicodeEncodeError, AttributeError) as error:
            raise RpcArgumentError(f"header {name!r} of {method} can't be sent: {error}") from error
        check_size(f"a header name of {method}", name_size, sizes.header_key_bytes)
        check_size(f"header {name!r} of {method}", value_size, sizes.header_value_bytes)
