"""Frames full of messages that ask for more than they bring."""

import lz4.block
import pytest

from refusion.rpc import RpcLimits, RpcProtocolError, RpcServerPeer
from refusion.rpc.formats.lz4 import Lz4Decoder
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import OK
from refusion.testing import VirtualClock, settle

from .test_backpressure import HIGH, transport_of
from .world import RawPeer, World

SIZE = 50_000


def peer_of(world: World) -> RpcServerPeer:
    """Return the server's side of the raw client."""
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    return peer


async def test_a_frame_with_many_calls_is_answered_as_the_client_takes_the_answers(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    assert raw.transport is not None
    raw.transport.pause_reading()
    args = raw.arguments(SIZE)
    await raw.send(*[RpcMessage("Worker.Zeros:2", number, 0, args) for number in range(1, 501)])
    await settle(500)

    assert transport_of(peer_of(world))._queued_bytes < HIGH + 2 * SIZE

    raw.transport.resume_reading()
    await settle(5_000)
    answers = [message.related_id for message in raw.received if message.method == OK]
    assert answers == list(range(1, 501))


async def test_a_frame_with_many_calls_is_run_as_others_end(clock: VirtualClock) -> None:
    limits = RpcLimits(drain_timeout=0.0, max_running_calls=5, max_queued_calls=10)
    async with World(clock, limits=limits) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        calls = [RpcMessage("Worker.Wait:2", number, 0, raw.arguments(f"{number}")) for number in range(1, 201)]
        await raw.send(*calls)
        assert len(world.log) == 5
        assert peer_of(world).admission.queued_count == 10
        for number in range(1, 201):
            world.service.let_go(f"{number}")
        await settle(500)
        assert [message.method for message in raw.received].count(OK) == 200


@pytest.mark.parametrize("frames", [1, 3])
async def test_calls_keep_their_order_when_some_of_a_frame_have_to_wait(world: World, frames: int) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    assert raw.transport is not None
    raw.transport.pause_reading()
    zeros = [RpcMessage("Worker.Zeros:2", number, 0, raw.arguments(SIZE)) for number in range(1, 21)]
    for start in range(frames):
        adds = [RpcMessage("Worker.Add:3", 100 * (start + 1) + n, 0, raw.arguments(start, n)) for n in range(10)]
        raw.transport.send(raw.frame(*zeros, *adds))
    await settle(50)
    raw.transport.resume_reading()
    await settle(500)
    assert world.log == [f"add({start}, {n})" for start in range(frames) for n in range(10)]


def test_a_packed_frame_of_many_small_blocks_is_refused() -> None:
    def packed(size: int, count: int) -> bytes:
        block: bytes = lz4.block.compress(bytes(size), store_size=False)
        return b"\x80" + (len(block).to_bytes(2, "little") + block) * count

    assert len(Lz4Decoder().decode(packed(1, 256), 16_000_000)) == 256
    assert len(Lz4Decoder().decode(packed(1_024, 10_000), 16_000_000)) == 10_240_000
    with pytest.raises(RpcProtocolError, match="compressed blocks with only"):
        Lz4Decoder().decode(packed(1, 100_000), 16_000_000)
