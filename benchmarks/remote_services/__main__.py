"""A process of `bench_remote`: `python -m benchmarks.remote_services server FOLDER DELAY`, or `client FOLDER URLS`."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import uvloop

from benchmarks._connections import memory
from benchmarks._processes import obey, pin
from refusion import FusionHub

from ._client import ColdStart, Way, open_way
from ._server import Servers
from ._users import ComputedUserApi


async def run_server(folder: Path, delay: float) -> None:
    servers = Servers()
    await obey(
        await servers.start(folder, delay), {"change": servers.change, "traffic": servers.traffic, "memory": memory}
    )


async def run_client(folder: Path, urls: dict[str, str]) -> None:
    ways: dict[str, Way] = {}
    kept: list[Any] = []

    def way_of(name: str, *, is_counted: bool) -> Way:
        key = f"{name} {is_counted}"
        if key not in ways:
            prefix = "counted-" if is_counted else ""
            ways[key] = open_way(name, urls[f"{prefix}http"], urls[f"{prefix}rpc"])
        return ways[key]

    async def load(way: str, readers: int, write_share: float, seconds: float) -> tuple[float, int]:
        opened = way_of(way, is_counted=False)
        await opened.get(0)
        return await opened.load(readers, write_share, seconds)

    async def read(way: str, first: int, count: int) -> None:
        """Read that many different users, one after the other, over the network that counts."""
        opened = way_of(way, is_counted=True)
        for number in range(first, first + count):
            await opened.get(number)

    async def hold(first: int, count: int) -> int:
        """Have that many replicas more, and return the memory of the process."""
        if not kept:
            kept.append(FusionHub().client(ComputedUserApi, urls["rpc"]))
        for start in range(first, first + count, 1_000):
            numbers = range(start, min(start + 1_000, first + count))
            kept.extend(await asyncio.gather(*[kept[0].get.capture(number) for number in numbers]))
        return await memory()

    async def start(count: int, has_cache: bool, is_far: bool) -> tuple[float, float]:
        url = urls["far-rpc" if is_far else "rpc"]
        return await ColdStart(url, folder / f"{is_far}.db", count).run(has_cache=has_cache)

    await obey(None, {"load": load, "read": read, "hold": hold, "start": start})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote_services")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("argument")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    pin(options.core)
    is_server = options.role == "server"
    folder, argument = options.folder, json.loads(options.argument)
    run = run_server(folder, argument) if is_server else run_client(folder, argument)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run)


if __name__ == "__main__":
    main()
