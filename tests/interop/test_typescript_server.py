"""A Python client against a server that is written with the reference's TypeScript packages.

Regular calls, and what becomes of calls when links break. The server gives each connection a peer of its own, as the
packages' accept helper does, so that every reconnect looks like a restart; with `peers=client` in the URL it keeps the
peer.
"""

import asyncio
import math
from datetime import UTC, datetime

import pytest

from refusion import FusionHub
from refusion.rpc import RpcChannel, RpcClientPeer, RpcLimits, RpcRemoteError

from .contracts import BasicApi, CounterApi, Point, ValueApi
from .links import EVERYWHERE, cut, need_typescript_server, wait_value
from .runs import running, typescript_server

need_typescript_server()
pytestmark = EVERYWHERE

# Regular calls


async def test_regular_calls_and_overloads(basic: BasicApi) -> None:
    assert await basic.add(3, 5) == 8
    assert await basic.add_three(1, 2, 3) == 6
    assert await basic.greet("Wörld 🌍") == "Hello, Wörld 🌍!"
    assert await basic.negate(True) is False
    assert await basic.divide(10, 4) == 2.5
    assert await basic.echo(None) is None
    assert await basic.echo("") == ""


async def test_values_come_back_as_they_were(hub: FusionHub, peer: RpcClientPeer) -> None:
    values = hub.client(ValueApi, peer)
    # JavaScript has no integers beyond 2^53, and writes those beyond 32 bits as floats.
    for number in (0, 1, -1, 127, 128, -129, 2**31 - 1, -(2**31), 2**31, 2**32, -(2**40), 2**53 - 1):
        assert await values.echo_int(number) == number
    for real in (0.0, 1.0, -2.5, 1e300, 5e-324, 1 / 3):
        assert await values.echo_float(real) == real
    for text in ("", "a", "\0", "\n", "\x1e", "\x1f", '"\\', "é", "日本", "🌍", "x" * 100_000):
        assert await values.echo_text(text) == text
    for data in (b"", b"\0", bytes(range(256)), bytes(70_000)):
        assert await values.echo_bytes(data) == data
    assert await values.echo_flag(False) is False
    assert await values.echo_list([]) == []
    assert await values.echo_list([[1, 2], [], list(range(1000))]) == [[1, 2], [], list(range(1000))]
    assert await values.echo_map({"a": 1.5, "": None, "ü": 2}) == {"a": 1.5, "": None, "ü": 2}
    for point in (Point(1, True), Point(-5, False, "corner")):
        assert await values.echo_point(point) == point
    for time in (datetime(2024, 2, 29, 12, 30, 15, 123000, UTC), datetime(1970, 1, 1, tzinfo=UTC)):
        assert await values.echo_time(time) == time


async def test_infinities_survive_in_binary_formats(hub: FusionHub, peer: RpcClientPeer, format: str) -> None:
    if format.startswith("json"):
        pytest.skip("JSON has no infinities")
    assert await hub.client(ValueApi, peer).echo_float(math.inf) == math.inf


async def test_errors_say_what_javascript_has_thrown(hub: FusionHub, peer: RpcClientPeer, basic: BasicApi) -> None:
    with pytest.raises(RpcRemoteError) as thrown:
        await basic.throw("boom ü")
    assert str(thrown.value) == "RangeError: boom ü"
    assert thrown.value.type_name == "ActualLab.Serialization.RemoteException, ActualLab.Core"

    with pytest.raises(RpcRemoteError, match=r"Error: Method not found: (IValueService.Missing:1|<hash:0x)"):
        await hub.client(ValueApi, peer).missing()


async def test_methods_without_a_result_return_none(counters: CounterApi, key: str) -> None:
    assert await counters.set(key, 5) is None  # type: ignore[func-returns-value]
    assert await counters.get_counter_non_compute(key) == 5


async def test_nobody_waits_for_a_no_wait_call(peer: RpcClientPeer, counters: CounterApi, key: str) -> None:
    for number in range(3):
        await counters.notify(f"{key} {number}")
    assert [text for text in await counters.get_notifications() if key in text] == [f"{key} {n}" for n in range(3)]


async def test_many_calls_at_once_are_told_apart(basic: BasicApi) -> None:
    results = await asyncio.gather(*[basic.add(number, number) for number in range(500)])
    assert results == [2 * number for number in range(500)]


async def test_a_cancelled_call_leaves_the_link_in_order(peer: RpcClientPeer, basic: BasicApi) -> None:
    call = asyncio.ensure_future(basic.slow_echo("late", 300))
    await basic.add(1, 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await basic.slow_echo("on time", 400) == "on time"
    assert len(peer.outbound) == 0


# Broken links


async def test_a_reconnect_to_a_new_peer_resends_and_invalidates(
    peer: RpcClientPeer, basic: BasicApi, counters: CounterApi, key: str
) -> None:
    await counters.set(key, 1)
    computed = await counters.get_counter.capture(key)
    await basic.reset_slow_echo_counter()
    call = asyncio.ensure_future(basic.slow_echo("still here", 300))
    await asyncio.sleep(0)
    assert await basic.get_slow_echo_invocation_count() == 1

    await cut(peer)

    await computed.wait_invalidated()
    assert await call == "still here"
    assert await basic.get_slow_echo_invocation_count() == 2
    following = asyncio.ensure_future(wait_value(counters, key, 2))
    await counters.increment(key)
    await following


async def test_a_reconnect_to_the_same_peer_runs_no_call_twice(
    hub: FusionHub, lasting_peer: RpcClientPeer, key: str
) -> None:
    basic, counters = hub.client(BasicApi, lasting_peer), hub.client(CounterApi, lasting_peer)
    await counters.set(key, 1)
    computed = await counters.get_counter.capture(key)
    await basic.reset_slow_echo_counter()
    call = asyncio.ensure_future(basic.slow_echo("still here", 300))
    await asyncio.sleep(0)
    assert await basic.get_slow_echo_invocation_count() == 1

    await cut(lasting_peer)

    assert await call == "still here"
    assert await basic.get_slow_echo_invocation_count() == 1
    assert computed.is_consistent
    await counters.increment(key)
    await computed.wait_invalidated()
    assert await counters.get_counter(key) == 2


async def test_many_reconnects_lose_no_call(peer: RpcClientPeer, counters: CounterApi, key: str) -> None:
    for _ in range(5):
        calls = [asyncio.ensure_future(counters.increment(key)) for _ in range(10)]
        await asyncio.sleep(0)
        await cut(peer)
        await asyncio.gather(*calls)
    # Calls whose answers were lost are run again.
    value = await counters.get_counter_non_compute(key)
    assert value >= 50
    assert await counters.get_counter(key) == value


async def test_a_restarted_server_is_followed_on(hub: FusionHub, key: str) -> None:
    with running(typescript_server()) as first:
        counters = hub.client(CounterApi, first.url)
        await counters.set(key, 42)
        computed = await counters.get_counter.capture(key)
        assert computed.value == 42
        port = first.url.removesuffix("/rpc/ws").rpartition(":")[2]
    with running(typescript_server("--port", port)):
        await computed.wait_invalidated()
        await wait_value(counters, key, 0)
        following = asyncio.ensure_future(wait_value(counters, key, 99))
        await counters.set(key, 99)
        await following


async def test_keep_alives_of_both_sides_keep_a_link(transport: str, format: str) -> None:
    limits = RpcLimits(keep_alive_period=0.1, keep_alive_timeout=0.5)
    with running(typescript_server("--keep-alive-period", "100", "--keep-alive-timeout", "500")) as server:
        async with FusionHub(transport=transport, format=format, limits=limits) as hub:
            peer = hub.peer(server.url)
            await peer.wait_connected()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(peer.wait_state_change(), 1.2)
            assert peer.is_connected


# Plain bytes


async def test_a_channel_carries_bytes_both_ways(hub: FusionHub, peer: RpcClientPeer) -> None:
    with RpcChannel(hub, "ITelemetry") as channel:
        messages = [bytes(range(256)), b"", *[b"%d" % number for number in range(100)], bytes(100_000)]
        for message in messages:
            await channel.send(peer, message)
        assert [await channel.receive() for _ in messages] == [(peer, message) for message in messages]
