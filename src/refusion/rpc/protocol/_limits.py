"""The sizes that every peer of the protocol keeps to, with the reason of each."""

from typing import Final

__all__ = [
    "MAX_ARGUMENT_BYTES",
    "MAX_ENVELOPE_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_HANDSHAKE_FRAME_BYTES",
    "MAX_HEADERS",
    "MAX_HEADER_KEY_BYTES",
    "MAX_HEADER_VALUE_BYTES",
    "MAX_METHOD_BYTES",
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

MAX_HANDSHAKE_FRAME_BYTES: Final = 16_384
"""A frame before the handshake: a stranger gets no more memory than that."""
