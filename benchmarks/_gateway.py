"""The processes of `bench_gateway`: `python -m benchmarks._gateway origin`, `gateway URL`, or `clients URL`."""

import argparse
import asyncio
import time
from functools import partial
from typing import Any, Final

import uvloop

from refusion import FusionHub, compute_method

from ._connections import allowed_connections
from ._processes import obey, pin

__all__ = ["ROLES"]

ROLES: Final = ("origin", "gateway", "clients")
_AT_ONCE: Final = 100


class Price:
    """The contract."""

    @compute_method
    async def get(self) -> int:
        raise NotImplementedError


class PriceService(Price):
    def __init__(self) -> None:
        self.value = 0
        self.runs = 0

    @compute_method
    async def get(self) -> int:
        self.runs += 1
        return self.value


async def run_origin(transport: str) -> None:
    service = PriceService()
    hub = FusionHub(transport=transport)
    hub.add_service(Price, service)

    async def change() -> float:
        at = time.monotonic()
        service.value += 1
        service.get.invalidate()
        return at

    async def count() -> int:
        return service.runs

    await obey((await hub.serve()).url, {"change": change, "count": count})


async def run_gateway(transport: str, upstream_url: str) -> None:
    hub = FusionHub(transport=transport)
    hub.add_service(Price, hub.client(Price, upstream_url))

    async def count() -> int:
        return hub.peer(upstream_url).call_count

    await obey((await hub.serve()).url, {"count": count})


class Clients:
    """Hubs that each follow the value over a connection of their own, and the moment when the last one has it."""

    def __init__(self, transport: str, url: str) -> None:
        self._transport = transport
        self._url = url
        self._hubs: list[FusionHub] = []
        self._followers: list[asyncio.Task[None]] = []
        self._awaited = 0
        self._missing = 0
        self._last_at: asyncio.Future[float] | None = None

    async def connect(self, count: int) -> None:
        while len(self._hubs) < count:
            batch = [FusionHub(transport=self._transport) for _ in range(min(_AT_ONCE, count - len(self._hubs)))]
            prices = [hub.client(Price, self._url) for hub in batch]
            await asyncio.gather(*[price.get() for price in prices])
            self._followers += [asyncio.create_task(self._follow(price)) for price in prices]
            self._hubs += batch

    async def expect(self, value: int) -> None:
        self._awaited, self._missing = value, len(self._hubs)
        self._last_at = asyncio.get_running_loop().create_future()

    async def wait_all(self) -> float:
        assert self._last_at is not None
        return await asyncio.wait_for(self._last_at, 30)

    async def count(self) -> int:
        return sum(hub.peer(self._url).call_count for hub in self._hubs)

    async def _follow(self, price: Price) -> None:
        async for computed in (await price.get.capture()).changes():
            if computed.value == self._awaited and self._last_at is not None:
                self._missing -= 1
                if not self._missing:
                    self._last_at.set_result(time.monotonic())


async def run_clients(transport: str, url: str) -> None:
    clients = Clients(transport, url)
    commands: dict[str, Any] = {"connect": clients.connect, "expect": clients.expect}
    await obey(None, {**commands, "wait_all": clients.wait_all, "count": clients.count})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._gateway")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("transport")
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    pin(options.core)
    allowed_connections()
    runs = {
        "origin": partial(run_origin, options.transport),
        "gateway": partial(run_gateway, options.transport, options.url),
        "clients": partial(run_clients, options.transport, options.url),
    }
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(runs[options.role]())


if __name__ == "__main__":
    main()
