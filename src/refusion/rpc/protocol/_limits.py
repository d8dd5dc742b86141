"""The sizes that every peer of the protocol keeps to, with the reason of each."""

from dataclasses import dataclass, fields
from typing import Final

__all__ = [
    "DEFAULT_SIZES",
    "MAX_ARGUMENT_BYTES",
    "MAX_ENVELOPE_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_FRAME_MESSAGES",
    "MAX_HANDSHAKE_FRAME_BYTES",
    "MAX_HEADERS",
    "MAX_HEADER_KEY_BYTES",
    "MAX_HEADER_VALUE_BYTES",
    "MAX_IDS",
    "MAX_METHOD_BYTES",
    "SizeLimits",
]

MAX_METHOD_BYTES: Final = 1_024
"""A wire name; names are written by people, so a longer one is garbage."""

MAX_HEADERS: Final = 31
"""Their count has five bits in the flags of a binary message."""

MAX_HEADER_KEY_BYTES: Final = 255
"""The length of a key is one byte."""

MAX_HEADER_VALUE_BYTES: Final = 1_024
"""Headers are for identities and hashes; data belongs in arguments."""

MAX_ARGUMENT_BYTES: Final = 16_252_928
"""The argument data of one message, 15.5 MiB: leaves room for the envelope within a frame."""

MAX_ENVELOPE_BYTES: Final = 244_297
"""The envelope of a text message: all headers at their longest, escaped."""

MAX_FRAME_BYTES: Final = 16_711_680
"""A frame, also after decompression."""

MAX_FRAME_MESSAGES: Final = 65_536
"""The messages of one frame: a frame of the smallest ones would otherwise take ten times its size. The protocol has
no such limit, but whoever packs frames does it for thousands of bytes, not for millions."""

MAX_HANDSHAKE_FRAME_BYTES: Final = 16_384
"""A frame before the handshake: a stranger gets no more memory than that."""

MAX_IDS: Final = 1_000_000
"""The open calls that a peer asks about after a reconnect: nobody has more, and they take a second to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """The largest sizes that one peer takes and sends; what the protocol allows, or less.

    A message over a limit is dropped when it comes in, and refused with `RpcLimitExceeded` when it is to go out.

    Raises:
        ValueError: If a limit is larger than the protocol's, or too small for the protocol's own messages.
    """

    method_bytes: int = MAX_METHOD_BYTES
    """The wire name of a method: lower it to your longest one and garbage is recognised sooner."""

    headers: int = MAX_HEADERS
    """The headers of one message; 0 for none."""

    header_key_bytes: int = MAX_HEADER_KEY_BYTES
    """The name of a header."""

    header_value_bytes: int = MAX_HEADER_VALUE_BYTES
    """The value of a header: an identity, a hash, a trace."""

    argument_bytes: int = MAX_ARGUMENT_BYTES
    """The arguments or the result of one call: what a client can make this side hold for one message."""

    envelope_bytes: int = MAX_ENVELOPE_BYTES
    """What a text message says before its arguments."""

    frame_bytes: int = MAX_FRAME_BYTES
    """A frame, before and after decompression; a message of the largest size must fit."""

    frame_messages: int = MAX_FRAME_MESSAGES
    """The messages of a frame; what comes behind them is dropped."""

    handshake_frame_bytes: int = MAX_HANDSHAKE_FRAME_BYTES
    """A frame before the handshake, when nobody knows who sends it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, smallest = getattr(self, field.name), _SMALLEST[field.name]
            if not smallest <= value <= field.default:
                raise ValueError(f"{field.name} is from {smallest:,} to {field.default:,}, not {value:,}")
        if self.argument_bytes + self.envelope_bytes > self.frame_bytes:
            raise ValueError(
                f"a frame of {self.frame_bytes:,} bytes can't hold a message with {self.argument_bytes:,} bytes of "
                f"arguments and an envelope of {self.envelope_bytes:,}; lower these as well"
            )


_SMALLEST: Final = {
    "method_bytes": 64,
    "headers": 0,
    "header_key_bytes": 16,
    "header_value_bytes": 64,
    "argument_bytes": 1_024,
    "envelope_bytes": 1_024,
    "frame_bytes": 4_096,
    "frame_messages": 1,
    "handshake_frame_bytes": 1_024,
}
"""What the protocol's own messages need."""

DEFAULT_SIZES: Final = SizeLimits()
"""What the protocol allows."""
