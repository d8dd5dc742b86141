"""Packed frames: what a connection's decoder makes of one after another."""

from collections.abc import Iterable, Iterator
from typing import Final

from fuzzing._choices import Choices, mutated
from fuzzing._harness import Target
from fuzzing._vectors import frames_of, lz4_sequences
from refusion.rpc import RpcProtocolError
from refusion.rpc.formats import FrameDecoder, RpcFormat, get_format
from refusion.rpc.formats.lz4 import LZ4_FORMATS
from refusion.rpc.protocol import MethodNames

__all__ = ["TARGETS"]

_MAX_BYTES: Final = 200_000
_names: Final = MethodNames()


def _check(data: bytes) -> None:
    choices = Choices(data)
    format_ = get_format(choices.pick(LZ4_FORMATS).key)
    if choices.one_in(2):
        _check_round_trip(format_, choices)
    else:
        _check_any(format_, choices)


def _check_any(format_: RpcFormat, choices: Choices) -> None:
    """Frames of all sorts: a problem ends the connection, and nothing else."""
    decoder = _decoder(format_)
    for frame in _frames(choices):
        try:
            content = decoder.decode(frame, _MAX_BYTES)
        except RpcProtocolError:
            return
        assert len(content) <= _MAX_BYTES
        format_.read(content, _names)


def _check_round_trip(format_: RpcFormat, choices: Choices) -> None:
    """What is packed comes out as it was, over many frames."""
    encoder, decoder = format_.frame_encoder(is_server=True), _decoder(format_)
    assert encoder is not None
    while not choices.is_over:
        part = choices.some_bytes(256) or b"a"
        frame = part * (1 + choices.below(400))
        packed = encoder.encode(frame)
        assert len(packed) <= len(frame) + 1
        assert decoder.decode(packed, _MAX_BYTES) == frame


def _frames(choices: Choices) -> Iterator[bytes]:
    """Give frames: raw ones, and what an encoder has made of others, with changes."""
    encoder = get_format("msgpack6-lz4f").frame_encoder(is_server=False)
    assert encoder is not None
    while not choices.is_over:
        kind = choices.below(4)
        if kind == 0:
            yield choices.some_bytes(1_024)
            continue
        packed = encoder.encode((choices.some_bytes(64) or b"\0") * (1 + choices.below(1_000)))
        if kind == 3:
            packed = mutated(packed, choices)
        yield packed


def _decoder(format_: RpcFormat) -> FrameDecoder:
    # Clients unpack what servers send in every one of these formats.
    decoder = format_.frame_decoder(is_server=False)
    assert decoder is not None
    return decoder


def _seeds() -> Iterable[bytes]:
    for key in range(len(LZ4_FORMATS)):
        for frames in lz4_sequences():
            parts = [b"\0" + (len(frame) % 1_024).to_bytes(2, "big") + frame[:1_023] for frame in frames]
            yield bytes([key, 0]) + b"".join(parts)
        for frame in frames_of("msgpack6"):
            yield bytes([key, 1, len(frame) % 256]) + frame


TARGETS: Final = (Target(name="frames-lz4", check=_check, seeds=_seeds, max_bytes=8_192),)
