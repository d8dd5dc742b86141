"""Many connections: `make bench-connections`, or `python -m benchmarks.bench_connections --quick`.

What an idle connection costs in memory, and how long it takes until every one of many clients knows that the value it
has a replica of isn't true any more; beside servers that do nothing but hold connections, and send a few bytes to each.
"""

import argparse
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import NamedTuple

from ._connections import STACKS, allowed_connections
from ._measure import describe_interpreter, describe_load
from ._processes import Worker, pinning


class Cost(NamedTuple):
    """What a connection costs, in bytes and in microseconds of CPU to make it."""

    server: float
    client: float
    server_us: float


class Telling(NamedTuple):
    """What it takes to tell all clients, in seconds."""

    elapsed: float
    server_cpu: float
    client_cpu: float


class Pair:
    """A server, and a process with all of its clients."""

    def __init__(self, name: str, processes: ExitStack) -> None:
        clients, servers = pinning()
        self._server = processes.enter_context(Worker("benchmarks._connections", "server", name, core=servers))
        self._client = processes.enter_context(
            Worker("benchmarks._connections", "client", name, self._server.ready, core=clients)
        )

    def connect(self, count: int) -> None:
        """Have that many connections, and no fewer."""
        self._client("connect", count=count)

    def measure_connections(self, first: int, count: int) -> Cost:
        """Return what each of `count` connections costs; `first` others are made before, to have everything loaded."""
        self.connect(first)
        before = self._server("memory"), self._client("memory"), self._server("cpu")
        self.connect(first + count)
        cpu = self._server("cpu") - before[2]
        after = self._server("memory"), self._client("memory")
        return Cost((after[0] - before[0]) / count, (after[1] - before[1]) / count, cpu / count * 1e6)

    def measure_telling(self) -> Telling:
        """Return what passes from the moment when the server knows until the last client does."""
        self._client("subscribe")
        for process in (self._client, self._server):
            process("collect")
        before = self._server("cpu"), self._client("cpu")
        told_at = self._server("tell")
        last_at = self._client("wait_told")
        return Telling(last_at - told_at, self._server("cpu") - before[0], self._client("cpu") - before[1])


def report_memory(count: int) -> None:
    print(f"\nmemory per idle connection, of {count:,} (private and shared pages; the kernel's buffers aside)")
    print(f"  {'':<26}{'server':>12}{'client':>12}{'to accept one':>18}")
    for name in STACKS:
        with ExitStack() as processes:
            cost = Pair(name, processes).measure_connections(100, count)
        print(f"  {name:<26}{cost.server / 1024:8.1f} KiB{cost.client / 1024:8.1f} KiB{cost.server_us:12,.0f} us CPU")


def report_telling(count: int, rounds: int) -> None:
    print(f"\nfrom `invalidate()` of one value until the last of {count:,} clients with a replica of it knows, one")
    print(f"connection each; the bare ones broadcast 12 bytes; median of {rounds}")
    tellings: defaultdict[str, list[Telling]] = defaultdict(list)
    with ExitStack() as processes:
        pairs = {name: Pair(name, processes) for name in STACKS}
        for pair in pairs.values():
            pair.connect(count)
            pair.measure_telling()
        for _ in range(rounds):
            for name, pair in pairs.items():
                tellings[name].append(pair.measure_telling())
    print(f"  {'':<26}{'in all':>11}{'a client':>12}{'CPU of server + clients':>28}")
    for name in STACKS:
        elapsed, server, client = (statistics.median(values) for values in zip(*tellings[name], strict=True))
        line = f"  {name:<26}{elapsed * 1e3:8.1f} ms{elapsed / count * 1e6:9.1f} us"
        line += f"{server / count * 1e6:17.1f} + {client / count * 1e6:.1f} us"
        bare = name.removeprefix("refusion on ")
        if bare != name:
            line += f"{elapsed / statistics.median(telling.elapsed for telling in tellings[bare]):8.1f} x {bare} alone"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_connections", description="Many connections.")
    parser.add_argument("--quick", action="store_true", help="fewer connections: a look, not a number to quote")
    quick = parser.parse_args().quick
    connections, subscribers, rounds = (1_000, 500, 5) if quick else (5_000, 2_000, 9)
    print(describe_interpreter(loop="uvloop"))
    if warning := describe_load():
        print(warning)
    allowed = allowed_connections()
    if allowed < connections + 100:
        connections, subscribers = allowed - 100, min(subscribers, allowed)
        print(f"only {connections:,} connections, because of the limit of open files (ulimit -Hn)")
    started_at = time.monotonic()
    report_memory(connections)
    report_telling(subscribers, rounds)
    print(f"\n{time.monotonic() - started_at:.0f} s")


if __name__ == "__main__":
    main()
