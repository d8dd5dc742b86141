"""What tests of a Python client share: where they run, and what happens to links."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from refusion._base._retries import RetryDelays
from refusion.rpc import RpcClientPeer, RpcConnectionKind, RpcLimits

from .contracts import CounterApi
from .runs import missing

__all__ = ["EVERYWHERE", "LIMITS", "cut", "eventually", "need_typescript_server", "wait_value"]

EVERYWHERE = [
    pytest.mark.timeout(20),
    pytest.mark.parametrize("transport", ["websockets", "picows"]),
    pytest.mark.parametrize("format", ["json5np", "json5", "msgpack6", "msgpack6c"]),
]
"""The marks of tests that run on both transports and in every format."""

LIMITS = RpcLimits(reconnect_delays=RetryDelays(0.02, 0.2))


def need_typescript_server() -> None:
    """Skip the module that calls this where there are no TypeScript packages."""
    if reason := missing("node_modules/ws", "node_modules/@actuallab/fusion-rpc/dist"):
        pytest.skip(reason, allow_module_level=True)


async def cut(peer: RpcClientPeer) -> None:
    """Break the connection, and wait for the next one."""
    await peer.wait_connected()
    broken = asyncio.ensure_future(peer.wait_state(RpcConnectionKind.DISCONNECTED))
    await asyncio.sleep(0)
    peer.disconnect()
    await broken
    await peer.wait_connected()


async def wait_value(counters: CounterApi, key: str, value: int) -> None:
    """Follow a counter until it has a value."""
    computed = await counters.get_counter.capture(key)
    async for current in computed.changes():
        if current.value == value:
            return


async def eventually(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """Look until what is expected is seen: the other process does it in its own time."""
    while await look() != expected:
        await asyncio.sleep(0.01)
