"""A process of a stack: `python -m benchmarks.rpc_stacks server NAME`, or `client NAME URL`; started by the runner."""

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from benchmarks._processes import obey, pin

from . import STACKS, load
from ._cases import CASES
from ._stack import Client, Stack

STREAM_LENGTH = 10_000


async def run_server(stack: Stack) -> None:
    url = await stack.serve()
    await obey(url, {})


async def run_client(stack: Stack, url: str) -> None:
    client = await stack.connect(url)

    async def check() -> None:
        await _check(stack, client)

    async def load(case: str, concurrency: int, seconds: float) -> tuple[float, int]:
        call, args = client.method(case), client.arguments(case)
        gc.collect()
        return await _load(lambda: call(*args), concurrency, seconds)

    async def stream(seconds: float) -> tuple[float, int]:
        gc.collect()
        return await _stream(client, seconds)

    await obey(None, {"check": check, "load": load, "stream": stream})


async def _check(stack: Stack, client: Client) -> None:
    """Refuse to measure what doesn't work."""
    for case in CASES.values():
        if not stack.has(case, 1):
            continue
        result = await client.method(case.name)(*client.arguments(case.name))
        if _plain(result) != _plain(case.result):
            raise AssertionError(f"{case.name} returned {result!r} instead of {case.result!r}")
    if stack.has_stream and [number async for number in await client.count(300)] != list(range(300)):
        raise AssertionError("the stream isn't what was sent")


def _plain(value: Any) -> Any:
    """Return a value without the classes that some stacks keep and others don't."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return [_plain(item) for item in value] if isinstance(value, list) else value


async def _load(call: Callable[[], Awaitable[Any]], concurrency: int, seconds: float) -> tuple[float, int]:
    """Keep that many calls in flight, and return the seconds and the number of calls from the first to the last."""
    done = 0
    started_at = time.perf_counter()
    deadline = started_at + seconds

    async def work() -> None:
        nonlocal done
        while True:
            await call()
            done += 1
            if time.perf_counter() >= deadline:
                return

    await asyncio.gather(*[work() for _ in range(concurrency)])
    return time.perf_counter() - started_at, done


async def _stream(client: Client, seconds: float) -> tuple[float, int]:
    done = 0
    started_at = time.perf_counter()
    while time.perf_counter() < started_at + seconds:
        async for _ in await client.count(STREAM_LENGTH):
            done += 1
    return time.perf_counter() - started_at, done


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rpc_stacks")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("name", choices=list(STACKS))
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    pin(options.core)
    stack = load(options.name)
    run = run_server(stack) if options.role == "server" else run_client(stack, options.url)
    with asyncio.Runner(loop_factory=stack.loop_factory) as runner:
        runner.run(run)


if __name__ == "__main__":
    main()
