"""What a target is, and how one input is judged.

A target's `check` feeds one input to the code under test and raises when it sees a bug: any error that isn't a
documented one, or an outcome that contradicts itself. Time and memory are looked at here, for all targets alike.
"""

import hashlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._memory import peak_memory, resident_memory
from ._running import RunningInput

__all__ = ["Finding", "Judge", "Target"]

_MIB = 1024 * 1024

MAX_PEAK_GROWTH = 48 * _MIB
"""What the memory of the process may grow by during one input, all of which are small."""

MAX_GROWTH = 128 * _MIB
"""What it may grow by after the first quarter of a run; a fuzzer keeps the inputs that it finds of interest."""

_HANG_FACTOR = 20
"""After so many times its CPU time an input is stopped by the clock on the wall: it waits for what never comes."""

_MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that reads what others send."""

    name: str
    check: Callable[[bytes], None]
    """Takes one input; raises when it shows a bug."""

    seeds: Callable[[], Iterable[bytes]]
    """Gives the inputs to begin with: valid ones, of every sort."""

    tokens: tuple[bytes, ...] = ()
    """What is put into inputs as a whole."""

    max_bytes: int = 2_048
    """How long inputs get."""

    seconds: float = 1.0
    """The CPU time that an input may take."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that shows a bug."""

    problem: str
    details: str
    path: str


class _Hangs(BaseException):
    """Raised in the middle of an input that takes too long; no code under test may catch it."""


class Judge:
    """Runs inputs of one target, and keeps those that show a bug: one for each place in the code."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.findings: list[Finding] = []
        self.executions = 0
        self.must_stop = False
        """Whether nothing that comes after can be trusted."""
        self._folder = folder
        self._known: set[str] = set()
        self._memory_before = 0
        self._running = RunningInput(folder / f"{target.name}.running", target.max_bytes)
        signal.signal(signal.SIGALRM, _raise_hangs)

    def run(self, data: bytes) -> None:
        """Run one input."""
        self.executions += 1
        self._running.set(data)
        started, peak = time.process_time(), peak_memory()
        signal.setitimer(signal.ITIMER_REAL, _HANG_FACTOR * self.target.seconds)
        try:
            self.target.check(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.must_stop |= isinstance(error, _Hangs)
            self._keep(_title(error), "".join(traceback.format_exception(error)), data, _place(error))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, growth = time.process_time() - started, peak_memory() - peak
        if seconds > self.target.seconds:
            self._keep(f"it takes {seconds:.1f} s", "", data, "slow")
        if growth > MAX_PEAK_GROWTH:
            self._keep(f"it takes {growth // _MIB} MiB", "", data, "large")

    def quarter_passed(self) -> None:
        """Note the memory that is taken once everything is warm."""
        self._memory_before = resident_memory()

    def ended(self) -> None:
        """Compare the memory with that of the first quarter."""
        growth = resident_memory() - self._memory_before
        if self._memory_before and growth > MAX_GROWTH:
            problem = f"memory grew by {growth // _MIB} MiB in a run of {self.executions:,} inputs"
            self.findings.append(Finding(problem, "", ""))

    def _keep(self, problem: str, details: str, data: bytes, place: str) -> None:
        if place in self._known:
            return
        self._known.add(place)
        path = self._folder / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        self.findings.append(Finding(problem, details, str(path)))
        self.must_stop |= len(self.findings) >= _MAX_FINDINGS
        print(f"{self.target.name}: {problem}\n{details}", file=sys.stderr, flush=True)


def _raise_hangs(*_: Any) -> None:
    raise _Hangs("it doesn't come to an end")


def _title(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _place(error: BaseException) -> str:
    """Return where an error comes from, which tells bugs from each other."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{type(error).__name__} {last.filename}:{last.lineno}"
