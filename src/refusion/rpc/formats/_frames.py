"""Frames that don't travel as they are: what packs and unpacks them, per connection and direction."""

from abc import ABC, abstractmethod

__all__ = ["FrameDecoder", "FrameEncoder"]


class FrameEncoder(ABC):
    """Packs the frames that one side sends over one connection; it may refer to earlier ones.

    The first byte of a packed frame holds its flags, the rest is its body. A WebSocket sends both; a transport
    that puts a length before each frame sends the flags as the top byte of that.
    """

    @abstractmethod
    def encode(self, frame: bytes) -> bytes:
        """Return what to send for a frame, at most a byte longer than it; call it in the order of sending."""


class FrameDecoder(ABC):
    """Unpacks the frames that one side gets over one connection."""

    @abstractmethod
    def decode(self, frame: bytes, max_bytes: int) -> bytes:
        """Return the frame that was packed; call it in the order of arrival.

        Raises:
            RpcProtocolError: If it isn't a packed frame, or has more than `max_bytes`; the connection can't
                be used any more then.
        """
