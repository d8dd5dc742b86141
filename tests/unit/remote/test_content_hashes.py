"""The hashes by which caller and server compare values, as golden vectors and frames have them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from refusion import FusionHub, MemoryCache, collect, compute_method
from refusion.rpc import rpc_service
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._content_hash import content_hash
from refusion.rpc.protocol._method_names import MethodNames
from refusion.rpc.transports.memory import Direction, MemoryNetwork
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, URL

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "protocol" / "dotnet-shaped.json").read_text())["vectors"]


def vectors(name: str) -> dict[str, bytes]:
    return {vector["format"]: bytes.fromhex(vector["bytesHex"]) for vector in VECTORS if vector["name"] == name}


CALLS, ANSWERS = vectors("call.compute-with-hash-header"), vectors("ok.with-hash-header")


@rpc_service(name="ITypeScriptTestComputeService")
class Counters:
    @compute_method
    async def get_counter(self, key: str) -> int:
        raise NotImplementedError


class CounterService(Counters):
    @compute_method
    async def get_counter(self, key: str) -> int:
        return 42


@pytest.fixture
async def network() -> AsyncIterator[MemoryNetwork]:
    with VirtualClock():
        network = MemoryNetwork()
        async with FusionHub(transport=network, limits=LIMITS) as server:
            server.add_service(Counters, CounterService())
            await server.serve("memory", 1)
            yield network
        collect()


@pytest.mark.parametrize("format_", list(ANSWERS))
def test_the_hash_of_a_result_is_that_of_the_reference(format_: str) -> None:
    (answer,) = get_format(format_).read(ANSWERS[format_], MethodNames()).messages
    assert dict(answer.headers) == {"#": content_hash(answer.args)}


@pytest.mark.parametrize("format_", list(CALLS))
async def test_a_call_that_asks_for_the_hash_is_sent_as_by_the_reference(network: MemoryNetwork, format_: str) -> None:
    sent: list[Any] = []
    async with FusionHub(transport=network, limits=LIMITS, format=format_, cache=MemoryCache()) as hub:
        client = hub.client(Counters, URL)
        await hub.peer(URL).wait_connected()
        # The golden call has the id 8.
        for _ in range(7):
            await client.get_counter("other")
            replica = client.get_counter.existing("other")
            assert replica is not None
            replica.invalidate()
            await settle()
        network.fault = lambda way, frame: sent.append((way, bytes(frame)))
        assert await client.get_counter("myKey") == 42
    (way, frame), (back, answer) = sent[:2]
    assert (way, back) == (Direction.TO_SERVER, Direction.TO_CLIENT)
    expected = _read(format_, CALLS[format_])
    assert _read(format_, frame) == expected
    assert dict(_read(format_, answer).headers) == dict(_read(format_, ANSWERS[format_]).headers)


async def test_a_server_answers_without_a_hash_who_does_not_ask_for_it(network: MemoryNetwork) -> None:
    sent: list[RpcMessage] = []
    async with FusionHub(transport=network, limits=LIMITS, format="json5np") as hub:
        client = hub.client(Counters, URL)
        await hub.peer(URL).wait_connected()
        await settle()

        def note(way: Direction, frame: Any) -> None:
            if way is Direction.TO_CLIENT:
                sent.append(_read("json5np", bytes(frame)))

        network.fault = note
        assert await client.get_counter("a") == 42
    assert [(message.method, message.headers) for message in sent[:1]] == [("$sys.Ok:1", ())]


def _read(format_: str, frame: bytes) -> RpcMessage:
    names = MethodNames()
    names.add("ITypeScriptTestComputeService.GetCounter:2")
    (message,) = get_format(format_).read(frame, names).messages
    return message
