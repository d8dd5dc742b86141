"""Interleaved measuring: A, B, C, A, B, C, …, so that a machine whose speed drifts is as unfair to all."""

import gc
import os
import statistics
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Case", "describe_interpreter", "describe_load", "measure", "report"]

_BUSY = 0.7


@dataclass
class Case:
    """Something to measure: a coroutine function that does its thing `count` times."""

    name: str
    run: Callable[[int], Awaitable[None]]
    count: int
    prepare: Callable[[], Awaitable[None]] | None = None
    """What has to be done before each round, untimed."""
    overhead: str | None = None
    """The case whose time is subtracted: the loop around the thing."""
    samples: list[float] = field(default_factory=list)

    @property
    def nanoseconds(self) -> float:
        """The median time of one thing."""
        return statistics.median(self.samples)


async def measure(cases: list[Case], rounds: int) -> dict[str, Case]:
    """Run all cases in turn, `rounds` times after a warm-up, and return them by name."""
    for number in range(rounds + 1):
        for case in cases:
            if case.prepare is not None:
                await case.prepare()
            gc.collect()
            started_at = time.thread_time()
            await case.run(case.count)
            elapsed = (time.thread_time() - started_at) / case.count * 1e9
            if number > 0:
                case.samples.append(elapsed)
    by_name = {case.name: case for case in cases}
    for case in cases:
        if case.overhead is not None:
            overhead = by_name[case.overhead].nanoseconds
            case.samples = [sample - overhead for sample in case.samples]
    return by_name


def report(title: str, rows: list[tuple[str, float, float | None, float | None]]) -> None:
    """Print rows of a name, nanoseconds, a ratio to the peer, and the ratio that is allowed."""
    print(f"\n{title}")
    for name, nanoseconds, ratio, budget in rows:
        text = f"  {name:<48} {nanoseconds:10,.0f} ns"
        if ratio is not None:
            text += f"  {ratio:8.2f} x"
        if budget is not None and ratio is not None:
            text += f"  budget {budget:g} x: {'held' if ratio <= budget else 'OVER'}"
        print(text)


def describe_interpreter(loop: str = "asyncio's own event loop") -> str:
    """Return what the numbers depend on most: the interpreter, how it was built, and the event loop."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "--enable-optimizations" in flags
    return (
        f"{sys.implementation.name} {sys.version.split()[0]}, "
        f"{'with' if optimised else 'without'} profile-guided optimisation, {loop}"
    )


def describe_load() -> str | None:
    """Return a warning if others use the machine: rates are low then, while CPU times hardly change."""
    busy = os.getloadavg()[0]
    if busy < _BUSY:
        return None
    return f"WARNING: others use the machine (load {busy:.1f}): of the figures below only CPU times can be trusted"
