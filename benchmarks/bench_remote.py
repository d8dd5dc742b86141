"""A read-mostly service over a network: `make bench-remote`, or `python -m benchmarks.bench_remote --quick`.

Users in a SQLite database behind REST (FastAPI, httpx), plain calls, and compute calls, with one write among a hundred
operations; then what a replica costs, and how a client starts with and without a cache.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from ._measure import describe_interpreter, describe_load
from ._processes import Worker, pinning
from .remote_services._client import WAYS

_READERS: Final = 100
_WRITE_SHARE: Final = 0.01
_DELAY: Final = 0.025


class Sample(NamedTuple):
    """One measurement of a way."""

    per_second: float
    client_us: float
    server_us: float


class Processes:
    """A server, and a client."""

    def __init__(self, stack: ExitStack) -> None:
        clients, servers = pinning()
        module = "benchmarks.remote_services"
        # Workers end without cleaning up.
        folder = stack.enter_context(TemporaryDirectory(prefix="bench-remote-"))
        self.server = stack.enter_context(Worker(module, "server", folder, str(_DELAY), core=servers))
        self.client = stack.enter_context(Worker(module, "client", folder, json.dumps(self.server.ready), core=clients))

    def load(self, way: str, seconds: float) -> Sample:
        for process in (self.client, self.server):
            process("collect")
        before = self.client("cpu"), self.server("cpu")
        elapsed, count = self.client("load", way=way, readers=_READERS, write_share=_WRITE_SHARE, seconds=seconds)
        after = self.client("cpu"), self.server("cpu")
        client, server = (1e6 * (new - old) / count for old, new in zip(before, after, strict=True))
        return Sample(count / elapsed, client, server)

    def traffic(self, way: str, first: int, count: int) -> tuple[float, float]:
        """Return the bytes to the server, and to the client, per read."""
        self.client("read", way=way, first=0, count=1)
        before = self.server("traffic")
        self.client("read", way=way, first=first, count=count)
        up, down = ((new - old) / count for old, new in zip(before, self.server("traffic"), strict=True))
        return up, down


def report_load(processes: Processes, rounds: int, seconds: float) -> None:
    print(f"\n{_READERS} readers of 1,000 users, one operation of a hundred is a write; median of {rounds}")
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for way in WAYS:
        processes.load(way, seconds / 5)
    for _ in range(rounds):
        for way in WAYS:
            samples[way].append(processes.load(way, seconds))
    base = statistics.median(sample.per_second for sample in samples["rest-plain"])
    print(f"  {'':<36}{'operations/s':>14}{'':>12}{'CPU of client + server':>28}")
    for way, about in WAYS.items():
        rate, client, server = (statistics.median(values) for values in zip(*samples[way], strict=True))
        print(f"  {about:<36}{rate:14,.0f}{rate / base:10.1f} x{client:18.2f} + {server:.2f} us")


def report_replicas(processes: Processes, count: int) -> None:
    print("\nbytes on the wire, TCP and below aside, for a value of 210 bytes of JSON that is read for the first time")
    for number, (way, about) in enumerate(WAYS.items()):
        up, down = processes.traffic(way, 1_000 * (number + 1), 500)
        print(f"  {about:<36}{up:8.0f} up{down:8.0f} down")
    before = processes.server("traffic")
    processes.server("change")
    time.sleep(0.5)
    _, down = (new - old for old, new in zip(before, processes.server("traffic"), strict=True))
    print(f"  {'an invalidation':<36}{0:8.0f} up{down / 501:8.0f} down")
    first = processes.client("hold", first=20_000, count=1_000), processes.server("memory")
    after = processes.client("hold", first=21_000, count=count), processes.server("memory")
    client, server = ((new - old) / count for old, new in zip(first, after, strict=True))
    print(f"\nmemory per replica, of {count:,}, the value and its call included")
    print(f"  {'client':<36}{client:8.0f} bytes\n  {'server':<36}{server:8.0f} bytes")


def report_cold_start(processes: Processes, count: int, rounds: int) -> None:
    print(
        f"\na client that starts, until it has {count:,} values, and until it knows that they are true; "
        f"median of {rounds}"
    )
    for is_far in (False, True):
        where = f"{2 * _DELAY * 1e3:.0f} ms away" if is_far else "on this machine"
        times: defaultdict[bool, list[Any]] = defaultdict(list)
        processes.client("start", count=count, has_cache=True, is_far=is_far)
        for _ in range(rounds):
            for has_cache in (False, True):
                times[has_cache].append(processes.client("start", count=count, has_cache=has_cache, is_far=is_far))
        for has_cache in (False, True):
            shown, true = (1e3 * statistics.median(values) for values in zip(*times[has_cache], strict=True))
            name = f"server {where}, {'SqliteCache' if has_cache else 'no cache'}"
            print(f"  {name:<36}{shown:10.0f} ms{true:10.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_remote", description="A read-mostly service.")
    parser.add_argument("--quick", action="store_true", help="shorter: a look, not a number to quote")
    quick = parser.parse_args().quick
    rounds, seconds, replicas = (3, 1.0, 5_000) if quick else (9, 3.0, 20_000)
    print(describe_interpreter(loop="uvloop"))
    if warning := describe_load():
        print(warning)
    started_at = time.monotonic()
    with ExitStack() as stack:
        processes = Processes(stack)
        report_load(processes, rounds, seconds)
        report_replicas(processes, replicas)
        report_cold_start(processes, 1_000, rounds)
    print(f"\n{time.monotonic() - started_at:.0f} s")


if __name__ == "__main__":
    main()
