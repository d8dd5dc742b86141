"""One side of a connection that says exactly what a fuzzer wants it to say."""

from collections import Counter
from typing import Any, Final

from refusion.rpc.formats import get_format
from refusion.rpc.protocol import Handshake, MethodNames, RpcMessage
from refusion.rpc.protocol._system_calls import HANDSHAKE
from refusion.rpc.transports import Receiver, Transport

__all__ = ["RawSide"]


class RawSide(Receiver):
    """Takes what the other side sends, which must be readable, and sends anything.

    Args:
        key: The format.
        names: The methods whose hashes may come.
        is_server: Whether it is the side that accepts.
    """

    def __init__(self, key: str, names: MethodNames, *, is_server: bool) -> None:
        self.format: Final = get_format(key)
        self.is_text = self.format.is_text
        self.max_frame_bytes = 1 << 24
        self.received: list[RpcMessage] = []
        self.byte_count = 0
        self.is_closed = False
        self._names = names
        self._encoder = self.format.frame_encoder(is_server=is_server)
        self._decoder = self.format.frame_decoder(is_server=is_server)
        self._transport: Transport | None = None

    @property
    def counts(self) -> Counter[str]:
        """How many messages have come, by method."""
        return Counter(message.method for message in self.received)

    def frame(self, *messages: RpcMessage) -> bytes:
        """Return messages as a frame."""
        buffer = bytearray()
        for message in messages:
            self.format.write(buffer, message)
        return bytes(buffer)

    def send(self, *messages: RpcMessage) -> None:
        """Send messages."""
        self.send_frame(self.frame(*messages))

    def send_frame(self, frame: bytes) -> None:
        """Send a frame, packed as the format has it."""
        self.send_raw(frame if self._encoder is None else self._encoder.encode(frame))

    def send_raw(self, frame: bytes) -> None:
        """Send a frame as it is."""
        if self._transport is not None and not self.is_closed:
            self._transport.send(frame)

    def change_kind(self) -> None:
        """Send text frames where binary ones are expected, and the other way round."""
        self.is_text = not self.is_text

    def introduce(self, peer_id: str, index: int = 1) -> None:
        """Send a handshake."""
        self.send(self.handshake(peer_id, index))

    def handshake(self, peer_id: str, index: int = 1) -> RpcMessage:
        """Return a handshake."""
        return RpcMessage(HANDSHAKE, 0, 0, self.format.encode_handshake(Handshake(peer_id, "raw-hub", index)))

    def arguments(self, types: tuple[Any, ...], values: tuple[Any, ...]) -> bytes:
        """Return argument data."""
        return self.format.arguments(types).encode(values)

    def pause(self) -> None:
        """Take nothing for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take what comes."""
        if self._transport is not None:
            self._transport.resume_reading()

    def cut(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    # Receiver

    def connected(self, transport: Transport) -> None:
        self._transport = transport

    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        assert is_text is self.format.is_text
        self.byte_count += len(frame)
        if self._decoder is not None:
            frame = self._decoder.decode(frame, self.max_frame_bytes)
        messages, problem = self.format.read(frame, self._names)
        assert problem is None, problem
        self.received += messages

    def writable(self) -> None:
        pass

    def disconnected(self, code: int, reason: str) -> None:
        self.is_closed = True
