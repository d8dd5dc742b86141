"""Compressed frames: the golden ones, round trips, what stays bounded, and links that use them."""

import pickle
import random
import subprocess
import sys
from typing import Any

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcProtocolError, RpcUnsupportedFormat
from refusion.rpc.formats import get_format
from refusion.rpc.formats.lz4 import Lz4Decoder, Lz4Encoder
from refusion.rpc.transports.memory import Direction
from refusion.testing import VirtualClock

from .test_golden_vectors import load
from .world import World

KEYS = ("msgpack6-lz4", "msgpack6c-lz4", "msgpack6-lz4f", "msgpack6c-lz4f")
LIMIT = 1_000_000


def frame_of(number: int, size: int = 600) -> bytes:
    return (f"frame {number}, which has some words in it; " * (size // 20))[:size].encode()


def test_the_frames_of_the_reference_are_unpacked() -> None:
    for sequence in load("lz4-frames.json")["sequences"]:
        decoder = Lz4Decoder()
        for frame in sequence["frames"]:
            packed = bytes.fromhex(frame["wsBytesHex"])
            content = decoder.decode(packed, LIMIT)
            assert len(content) == frame["payloadLength"]
            if "payloadHex" in frame:
                assert content.hex() == frame["payloadHex"]
            assert packed[0] == int.from_bytes(bytes.fromhex(frame["streamHeaderHex"]), "little") >> 24


def test_the_frames_of_the_reference_are_packed_as_there() -> None:
    # Both use the same library, and a reset comes later than in this short sequence.
    (sequence,) = load("lz4-frames.json")["sequences"]
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    for frame in sequence["frames"]:
        if "payloadHex" in frame and not frame["flags"]["contextReset"]:
            content = bytes.fromhex(frame["payloadHex"])
            packed = encoder.encode(content)
            assert packed.hex() == frame["wsBytesHex"]
            assert decoder.decode(packed, LIMIT) == content


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 40_000), st.booleans()),
        max_size=20,
    )
)
def test_any_frames_come_out_as_they_went_in(shapes: list[tuple[int, int, bool]]) -> None:
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    for seed, size, is_random in shapes:
        frame = random.Random(seed).randbytes(size) if is_random else frame_of(seed, size)
        packed = encoder.encode(frame)
        assert len(packed) <= len(frame) + 1
        assert decoder.decode(packed, LIMIT) == frame


def test_small_frames_and_those_that_do_not_shrink_go_as_they_are() -> None:
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    assert encoder.encode(b"x" * 511) == b"\x00" + b"x" * 511
    assert encoder.encode(b"x" * 512)[0] == 0x80
    noise = random.Random(1).randbytes(100_000)
    assert encoder.encode(noise) == b"\x00" + noise
    # What was tried has left no trace.
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    for frame in (frame_of(1), noise, frame_of(1), noise, frame_of(2)):
        assert decoder.decode(encoder.encode(frame), LIMIT) == frame


@pytest.mark.parametrize(("size", "count"), [(600, 219), (20_000, 7)])
def test_the_window_is_emptied_from_time_to_time(size: int, count: int) -> None:
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    flags = []
    for number in range(2 * count + 2):
        frame = frame_of(number, size)
        packed = encoder.encode(frame)
        flags.append(packed[0])
        assert decoder.decode(packed, LIMIT) == frame
    assert [index for index, flag in enumerate(flags) if flag == 0xC0] == [
        index for index in (count, 2 * count) if index < len(flags)
    ]
    assert set(flags) == {0x80, 0xC0}


def test_a_reset_is_heeded_also_on_a_frame_that_is_not_compressed() -> None:
    encoder, decoder = Lz4Encoder(), Lz4Decoder()
    decoder.decode(encoder.encode(frame_of(1)), LIMIT)
    assert decoder.decode(b"\x40abc", LIMIT) == b"abc"
    with pytest.raises(RpcProtocolError):
        decoder.decode(encoder.encode(frame_of(1)), LIMIT)


def block(content: bytes, window: bytes = b"") -> bytes:
    data: bytes = lz4.block.compress(content, store_size=False, dict=window)
    return len(data).to_bytes(2, "little") + data


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (b"", "without its flags"),
        (b"\x80\x01", "empty, or doesn't end"),
        (b"\x80\x00\x00", "empty, or doesn't end"),
        (b"\x80\x05\x00abcd", "empty, or doesn't end"),
        (b"\x80" + block(b"abc") + b"\x01", "empty, or doesn't end"),
        (b"\x80\x01\x00\x00", "nothing in it"),
        (b"\x80\x03\x00\xff\xff\xff", "can't be read"),
        (b"\x80\x04\x00\x10a\x09\x00", "can't be read"),
        (b"\x80" + block(b"x" * 16_385), "can't be read"),
        (b"\x80" + block(b"x" * 16_384) * 2, "unpacks to more than 30,000 bytes"),
        (b"\x00" + b"x" * 30_001, "30,001 bytes, and 30,000 is the limit"),
    ],
)
def test_a_frame_that_is_wrong_is_an_error(packed: bytes, problem: str) -> None:
    with pytest.raises(RpcProtocolError, match=problem):
        Lz4Decoder().decode(packed, 30_000)


def test_frames_at_their_limits_are_right() -> None:
    assert Lz4Decoder().decode(b"\x80", LIMIT) == b""
    assert Lz4Decoder().decode(b"\x80" + block(b"x" * 16_384), 16_384) == b"x" * 16_384
    assert Lz4Decoder().decode(b"\xbf" + block(b"abc"), LIMIT) == b"abc"


def test_a_frame_of_many_blocks_with_little_in_them_is_refused_early() -> None:
    assert len(Lz4Decoder().decode(b"\x80" + block(b"x") * 1_024, LIMIT)) == 1_024
    with pytest.raises(RpcProtocolError, match="1,025 compressed blocks with only 1,025 bytes"):
        Lz4Decoder().decode(b"\x80" + block(b"x") * 100_000, LIMIT)
    assert len(Lz4Decoder().decode(b"\x80" + block(b"x" * 256) * 3_000, LIMIT)) == 768_000


@given(st.binary(max_size=200), st.integers(0, 255))
def test_garbage_is_an_error_and_nothing_else(data: bytes, flags: int) -> None:
    decoder = Lz4Decoder()
    for packed in (data, bytes([flags]) + data, bytes([flags | 0x80]) + data, b"\x80" + block(b"a" * 50) + data):
        try:
            assert len(decoder.decode(packed, 10_000)) <= 10_000
        except RpcProtocolError:
            continue


@pytest.mark.parametrize("key", KEYS)
def test_the_key_says_who_packs(key: str) -> None:
    format_ = get_format(key)
    assert format_.key == key
    has_both = key.endswith("f")
    assert format_.frame_encoder(is_server=True) is not None
    assert format_.frame_decoder(is_server=False) is not None
    assert (format_.frame_encoder(is_server=False) is not None) is has_both
    assert (format_.frame_decoder(is_server=True) is not None) is has_both
    # The state belongs to one connection.
    assert format_.frame_encoder(is_server=True) is not format_.frame_encoder(is_server=True)


@pytest.mark.parametrize("key", KEYS)
async def test_links_pack_the_frames_that_they_should(clock: VirtualClock, key: str) -> None:
    async with World(clock, format=key) as world:
        sizes: dict[Direction, int] = dict.fromkeys(Direction, 0)

        def count(direction: Direction, frame: bytes) -> Any:
            sizes[direction] += len(frame)

        world.network.fault = count
        await world.peer.wait_connected()
        assert await world.worker.add(1, 2) == 3
        assert await world.worker.size(b"\x07" * 100_000) == 100_000
        assert await world.worker.zeros(100_000) == bytes(100_000)
        assert [await world.worker.zeros(5_000) for _ in range(5)] == [bytes(5_000)] * 5

        assert sizes[Direction.TO_CLIENT] < 5_000
        assert (sizes[Direction.TO_SERVER] < 5_000) is key.endswith("f")

        # A new connection begins with an empty window on both sides.
        await world.cut()
        await world.clock.advance(1)
        assert await world.worker.zeros(50_000) == bytes(50_000)


WITHOUT_LZ4 = """
import sys
sys.modules["lz4"] = None
from refusion.rpc import RpcHub
from refusion.rpc.formats import format_keys, get_format
from refusion.rpc.transports import ConnectionRequest
try:
    get_format("msgpack6c-lz4")
except LookupError as error:
    print(error)
print("lz4" in " ".join(format_keys()))
print(RpcHub().accept(ConnectionRequest(path="/rpc/ws", query={"clientId": "c", "f": "msgpack6c-lz4"})))
"""


def test_without_the_package_the_formats_are_unsupported_and_the_error_names_the_extra() -> None:
    code = WITHOUT_LZ4
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    error, is_listed, rejection = done.stdout.splitlines() or [done.stderr] * 3
    assert "pip install refusion[lz4]" in error
    assert "Unsupported RPC serialization format: 'msgpack6c-lz4'" in error
    assert is_listed == "False"
    assert "4001" in rejection


def test_an_unsupported_format_survives_being_pickled() -> None:
    error = RpcUnsupportedFormat("x", ("a", "b"), "do this")
    assert (
        str(pickle.loads(pickle.dumps(error)))
        == str(error)
        == ("Unsupported RPC serialization format: 'x' (known here: a, b); do this")
    )
