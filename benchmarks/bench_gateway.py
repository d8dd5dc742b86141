"""A gateway for many clients: `python -m benchmarks.bench_gateway --quick`.

One value, which each of many clients follows over a connection of its own: what the origin hears of them, and how long
it takes from `invalidate()` at the origin until the last client has the new value; beside the same clients without a
gateway in between.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ._connections import allowed_connections
from ._measure import describe_interpreter, describe_load
from ._processes import Worker, pinning

_TRANSPORTS = ("picows", "websockets")
_MODULE = "benchmarks._gateway"


class Outcome(NamedTuple):
    """What comes of some changes."""

    elapsed: Sequence[float]
    """Seconds from each change until the last client has the new value."""

    client_calls: int
    """Calls that the clients have made."""

    origin_calls: int
    """Calls that the origin has had: those of the gateway, or those of the clients."""

    runs: int
    """How often the origin has computed the value."""

    origin_cpu: float
    """Seconds of CPU of the origin for a change."""


def follow(transport: str, count: int, changes: int, *, has_gateway: bool) -> Outcome:
    """Let clients follow a value through changes, one after the other."""
    clients_core, servers_core = pinning()
    with ExitStack() as processes:

        def start(role: str, *arguments: str, core: int | None = servers_core) -> Worker:
            return processes.enter_context(Worker(_MODULE, role, transport, *arguments, core=core))

        origin = start("origin")
        gateway = start("gateway", origin.ready) if has_gateway else None
        clients = start("clients", origin.ready if gateway is None else gateway.ready, core=clients_core)
        clients("connect", count=count)
        cpu = origin("cpu")
        elapsed: list[float] = []
        for value in range(1, changes + 1):
            clients("expect", value=value)
            changed_at = origin("change")
            elapsed.append(clients("wait_all") - changed_at)
        client_calls = clients("count")
        origin_calls = client_calls if gateway is None else gateway("count")
        return Outcome(elapsed, client_calls, origin_calls, origin("count"), (origin("cpu") - cpu) / changes)


def report(transport: str, count: int, changes: int) -> None:
    print(f"\n{count:,} clients of one value on {transport}, {changes} changes")
    print(
        f"  {'':<18}{'client calls':>14}{'origin calls':>14}{'runs':>7}{'last client has it: median':>30}{'worst':>11}"
    )
    for name, has_gateway in (("one gateway", True), ("no gateway", False)):
        outcome = follow(transport, count, changes, has_gateway=has_gateway)
        line = f"  {name:<18}{outcome.client_calls:14,}{outcome.origin_calls:14,}{outcome.runs:7,}"
        line += f"{statistics.median(outcome.elapsed) * 1e3:27.1f} ms{max(outcome.elapsed) * 1e3:8.1f} ms"
        print(f"{line}   origin's CPU {outcome.origin_cpu * 1e3:.2f} ms a change")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_gateway", description="A gateway, many clients.")
    parser.add_argument("--quick", action="store_true", help="fewer clients: a look, not a number to quote")
    quick = parser.parse_args().quick
    count, changes = (200, 20) if quick else (1_000, 100)
    print(describe_interpreter(loop="uvloop"))
    if warning := describe_load():
        print(warning)
    allowed = allowed_connections()
    if allowed < count + 100:
        count = allowed - 100
        print(f"only {count:,} clients, because of the limit of open files (ulimit -Hn)")
    started_at = time.monotonic()
    for transport in _TRANSPORTS:
        report(transport, count, changes)
    print(f"\n{time.monotonic() - started_at:.0f} s")


if __name__ == "__main__":
    main()
