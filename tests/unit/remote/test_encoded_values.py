"""A value that many clients ask for is written once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion import Computed, FusionHub, MemoryCache, collect, compute_method
from refusion.remote._encoded_values import EncodedValues
from refusion.rpc import MethodDefinition, RpcPeer
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, URL


class Texts:
    @compute_method
    async def get(self, size: int) -> str:
        raise NotImplementedError


class TextService(Texts):
    def __init__(self) -> None:
        self.letter = "a"

    @compute_method
    async def get(self, size: int) -> str:
        return self.letter * size


class Library:
    def __init__(self, network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = network
        self.service = TextService()
        self.server = FusionHub(transport=network, limits=LIMITS)
        self.clients: list[FusionHub] = []
        self.written = 0
        encode = RpcPeer.encode_result

        def count(peer: RpcPeer, method: MethodDefinition, result: Any) -> bytes:
            self.written += 1
            return encode(peer, method, result)

        monkeypatch.setattr(RpcPeer, "encode_result", count)

    async def read(self, size: int, count: int, **options: Any) -> list[str]:
        """Let that many new clients read a text, one after the other."""
        hubs = [FusionHub(transport=self.network, limits=LIMITS, **options) for _ in range(count)]
        self.clients += hubs
        return [await hub.client(Texts, URL).get(size) for hub in hubs]


@pytest.fixture
async def library(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Library]:
    with VirtualClock():
        library = Library(MemoryNetwork(), monkeypatch)
        library.server.add_service(Texts, library.service)
        await library.server.serve("memory", 1)
        yield library
        await asyncio.gather(*[hub.aclose() for hub in library.clients])
        await library.server.aclose()
        collect()


@pytest.mark.parametrize("has_cache", [False, True])
async def test_a_large_value_is_written_once_for_all_clients(library: Library, has_cache: bool) -> None:
    options = {"cache": MemoryCache()} if has_cache else {}
    assert await library.read(5_000, 20, **options) == ["a" * 5_000] * 20
    await settle()
    assert library.written == 1


async def test_a_large_value_is_written_anew_when_it_has_changed(library: Library) -> None:
    await library.read(5_000, 2)
    library.service.letter = "b"
    library.service.get.invalidate(5_000)
    await settle()
    assert await library.read(5_000, 2) == ["b" * 5_000] * 2
    assert library.written == 2


async def test_a_large_value_is_written_once_for_each_format(library: Library) -> None:
    await library.read(5_000, 2)
    assert await library.read(5_000, 2, format="json5np") == ["a" * 5_000] * 2
    assert library.written == 2


async def test_a_small_value_is_written_for_each_client(library: Library) -> None:
    await library.read(10, 3)
    assert library.written == 3


async def test_of_the_values_that_were_written_the_latest_are_kept_within_a_bound(library: Library) -> None:
    await library.read(10, 1)
    (peer,) = library.server.server_peers
    (definition,) = library.server.services
    (method,) = definition.methods.values()
    values = EncodedValues(max_bytes=10_000)
    computed: list[Computed[str]] = [await library.service.get.capture(size) for size in (4_000, 4_001, 4_002, 20_000)]
    first, second = (values.get(peer, method, one) for one in computed[:2])
    assert values.get(peer, method, computed[0]) is first
    values.get(peer, method, computed[2])
    assert values.get(peer, method, computed[0]) is first
    assert values.get(peer, method, computed[1]) is not second
    large = values.get(peer, method, computed[3])
    assert values.get(peer, method, computed[3]) is not large
