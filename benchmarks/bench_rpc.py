"""Remote calls beside other stacks: `make bench-rpc`, or `python -m benchmarks.bench_rpc --quick --only refusion,echo`.

Each stack has a server process and a client process, with a core for all servers and another for all clients. All of
them are there during the whole run, and only one pair works at a time: A, B, C, …, A, B, C, …; medians are shown.
Ratios are to what was measured in the same run.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from ._measure import describe_interpreter, describe_load
from ._processes import Worker, pinning
from .rpc_stacks import STACKS, load
from .rpc_stacks._cases import CASES

_CONCURRENCIES: Final = (1, 10, 100, 1000)
_STREAM: Final = "stream"
_PACKAGES: Final = (
    "refusion", "msgspec", "picows", "uvloop", "websockets", "grpcio",
    "python-socketio", "aiohttp", "fastapi", "pydantic", "uvicorn",
)  # fmt: skip
_GRPC: Final = "grpc.aio"
_BY_HAND: Final = "json-rpc"
_ECHO: Final = "echo"


class Cell(NamedTuple):
    """What one number is about."""

    stack: str
    case: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a cell."""

    per_second: float
    client_us: float
    """CPU time of the client per call or item, in microseconds."""
    server_us: float


class Budget(NamedTuple):
    """What refusion promises against a peer."""

    case: str
    concurrency: int
    peer: str
    python: float | None
    """The ratio that its pure Python path reaches."""
    c: float | None
    """The ratio that its C path reaches."""


BUDGETS: Final = (
    Budget("add", 100, _GRPC, 30, 100),
    Budget("add", 1000, _GRPC, 30, 100),
    Budget("add", 100, _BY_HAND, 2.5, 8),
    Budget("add", 1000, _BY_HAND, 2.5, 8),
    Budget(_STREAM, 1, _GRPC, None, 50),
)
_ECHO_BUDGET: Final = 1.3


class Pair:
    """The two processes of a stack."""

    def __init__(self, name: str, processes: ExitStack) -> None:
        clients, servers = pinning()
        module = "benchmarks.rpc_stacks"
        self.name = name
        self._server = processes.enter_context(Worker(module, "server", name, core=servers))
        self._client = processes.enter_context(Worker(module, "client", name, self._server.ready, core=clients))
        self._client("check")

    def measure(self, case: str, concurrency: int, seconds: float) -> Sample:
        """Make calls, or take items, for about that long."""
        before = self._cpu()
        if case == _STREAM:
            elapsed, count = self._client("stream", seconds=seconds)
        else:
            elapsed, count = self._client("load", case=case, concurrency=concurrency, seconds=seconds)
        after = self._cpu()
        client, server = (1e6 * (new - old) / count for old, new in zip(before, after, strict=True))
        return Sample(count / elapsed, client, server)

    def _cpu(self) -> tuple[float, float]:
        return self._client("cpu"), self._server("cpu")


def choose(names: list[str], quick: bool) -> list[Cell]:
    """Return what is measured, in turn: all stacks do the same thing before they all do the next one."""
    stacks = {name: load(name) for name in names}
    cells: list[Cell] = []
    for case in CASES.values():
        is_whole = case.name == "add" or not quick
        for concurrency in _CONCURRENCIES if is_whole else (100,):
            cells.extend(Cell(name, case.name, concurrency) for name in names if stacks[name].has(case, concurrency))
    cells.extend(Cell(name, _STREAM, 1) for name in names if stacks[name].has_stream)
    return cells


def measure(names: list[str], rounds: int, seconds: float, *, quick: bool) -> dict[Cell, list[Sample]]:
    """Run everything in turn, `rounds` times after a short warm-up."""
    cells = choose(names, quick)
    samples: defaultdict[Cell, list[Sample]] = defaultdict(list)
    with ExitStack() as processes:
        pairs = {name: Pair(name, processes) for name in names}
        for cell in cells:
            pairs[cell.stack].measure(cell.case, cell.concurrency, seconds / 5)
        for number in range(rounds):
            for cell in cells:
                samples[cell].append(pairs[cell.stack].measure(cell.case, cell.concurrency, seconds))
            if sys.stderr.isatty():
                print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return samples


class Results:
    """Medians, and ratios of medians."""

    def __init__(self, samples: dict[Cell, list[Sample]]) -> None:
        self._samples = samples

    def median(self, cell: Cell) -> Sample | None:
        """Return the median of each figure; None if the cell wasn't measured."""
        samples = self._samples.get(cell)
        if not samples:
            return None
        return Sample(
            statistics.median(sample.per_second for sample in samples),
            statistics.median(sample.client_us for sample in samples),
            statistics.median(sample.server_us for sample in samples),
        )

    def ratio(self, case: str, concurrency: int, name: str, peer: str) -> float | None:
        """Return how many times as fast as `peer` a stack is."""
        ours, theirs = (self.median(Cell(stack, case, concurrency)) for stack in (name, peer))
        return None if ours is None or theirs is None else ours.per_second / theirs.per_second

    def cpu_ratio(self, case: str, concurrency: int, name: str, peer: str) -> float | None:
        """Return how many times as many calls a stack makes with the CPU time of its busier process."""
        ours, theirs = (self.median(Cell(stack, case, concurrency)) for stack in (name, peer))
        if ours is None or theirs is None:
            return None
        return max(theirs.client_us, theirs.server_us) / max(ours.client_us, ours.server_us)

    def names(self, case: str) -> list[str]:
        """Return the stacks that took part in a case."""
        return list(dict.fromkeys(cell.stack for cell in self._samples if cell.case == case))

    def concurrencies(self, case: str) -> list[int]:
        """Return how many calls were in flight in a case."""
        return sorted({cell.concurrency for cell in self._samples if cell.case == case})


def report_case(results: Results, case: str, title: str) -> None:
    """Print the rates of all stacks, and what a call costs where it is cheapest to tell."""
    concurrencies = results.concurrencies(case)
    if not concurrencies:
        return
    costs_at = 100 if 100 in concurrencies else concurrencies[-1]
    heads = "".join(f"{'x ' + format(concurrency, ','):>12}" for concurrency in concurrencies)
    print(f"\n{title}\n  {'per second, median':<22}{heads}   us of CPU at x {costs_at}, client + server")
    for name in results.names(case):
        line = f"  {name:<22}"
        for concurrency in concurrencies:
            sample = results.median(Cell(name, case, concurrency))
            line += f"{'-':>12}" if sample is None else f"{sample.per_second:12,.0f}"
        costs = results.median(Cell(name, case, costs_at))
        print(line if costs is None else f"{line}   {costs.client_us:8.1f} + {costs.server_us:.1f}")
    for peer in (_GRPC, _BY_HAND):
        ratios = [results.ratio(case, concurrency, "refusion", peer) for concurrency in concurrencies]
        texts = [f"{'-':>12}" if ratio is None else f"{ratio:10.1f} x" for ratio in ratios]
        if any(ratio is not None for ratio in ratios):
            print(f"  {'refusion / ' + peer:<22}{''.join(texts)}")


def report_budgets(results: Results) -> None:
    """Print the promises, and whether they are kept, as far as the peers took part."""
    lines: list[str] = []
    for budget in BUDGETS:
        ratio = results.ratio(budget.case, budget.concurrency, "refusion", budget.peer)
        cpu_ratio = results.cpu_ratio(budget.case, budget.concurrency, "refusion", budget.peer)
        if ratio is None or cpu_ratio is None:
            continue
        verdicts = [
            f"{path} >= {least:g} x: {'held' if ratio >= least else 'MISSED'}"
            for path, least in (("Python", budget.python), ("C", budget.c))
            if least is not None
        ]
        what = f"{budget.case} x {budget.concurrency}, refusion / {budget.peer}"
        lines.append(f"{what:<52}{ratio:8.1f} x ({cpu_ratio:5.1f} x by CPU)   {'; '.join(verdicts)}")
    for name in ("refusion", "refusion-websockets", "refusion-json"):
        speed = results.ratio("add", 1, name, _ECHO)
        if speed is not None:
            slower = 1 / speed
            verdict = f"<= {_ECHO_BUDGET:g} x: {'held' if slower <= _ECHO_BUDGET else 'MISSED'}"
            note = verdict if name == "refusion" else "no budget: another transport or format"
            lines.append(f"{f'round trip of add x 1, {name} / {_ECHO}':<52}{slower:8.2f} x {'':<15}   {note}")
    if lines:
        print("\nbudgets, of the pure Python path and of the C path (by CPU: of the busier process)")
    for line in lines:
        print(f"  {line}")


def describe_run(names: list[str], rounds: int, seconds: float) -> None:
    """Print what the numbers depend on."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} missing")
    clients, servers = pinning()
    print(describe_interpreter(loop="uvloop everywhere"))
    print("; ".join(versions))
    if warning := describe_load():
        print(warning)
    print(f"{rounds} rounds of {seconds:g} s each, after a warm-up; ", end="")
    print("processes not pinned" if clients is None else f"clients on core {clients}, servers on core {servers}")
    for name in names:
        print(f"  {name:<22}{load(name).about}")
    print("  x N: that many calls in flight, each made when the one before it is answered; one client process.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_rpc", description="Measure remote calls.")
    parser.add_argument("--quick", action="store_true", help="about a minute: a look, not a number to quote")
    parser.add_argument("--only", default=",".join(STACKS), help=f"which stacks, of {', '.join(STACKS)}")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    if unknown := [name for name in names if name not in STACKS]:
        parser.error(f"no such stack: {', '.join(unknown)} (there are: {', '.join(STACKS)})")
    rounds, seconds = (3, 0.2) if options.quick else (5, 0.4)
    describe_run(names, rounds, seconds)
    started_at = time.monotonic()
    results = Results(measure(names, rounds, seconds, quick=options.quick))
    for case in CASES.values():
        report_case(results, case.name, case.title)
    report_case(results, _STREAM, "a stream of ints, one consumer, items")
    report_budgets(results)
    print(f"\n{time.monotonic() - started_at:.0f} s")


if __name__ == "__main__":
    main()
