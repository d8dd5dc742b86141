"""Where the reference's TypeScript packages are, and how the processes of these tests are run."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Outcome",
    "Process",
    "missing",
    "python_host",
    "run_script",
    "running",
    "typescript_folder",
    "typescript_server",
]

VARIABLE = "REFUSION_TS"
ROOT = Path(__file__).parents[2]


def typescript_folder() -> Path | None:
    """Return the folder that the environment names."""
    text = os.environ.get(VARIABLE, "")
    return Path(text).resolve() if text else None


def missing(*needed: str) -> str:
    """Return why these tests can't run here, with the way out; "" if they can.

    Args:
        needed: Paths in the folder of the TypeScript packages that a test can't do without.
    """
    folder = typescript_folder()
    if folder is None:
        return (
            f"set {VARIABLE} to the `ts` folder of ActualLab.Fusion, with its node modules installed and its packages "
            "built (npm ci && npm run build), to run these tests"
        )
    if shutil.which("node") is None:
        return "node isn't on PATH; install Node.js 20 or newer to run these tests"
    for path in needed:
        if not (folder / path).exists():
            return (
                f"{VARIABLE} is {folder}, and there is no {path} in it; install its node modules and build its packages"
            )
    return ""


class Process:
    """A process that serves: everything that it has printed, and the URL among that."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url: str = self._wait_ready()
        """Where it serves."""

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def stop(self) -> None:
        """End it, gently first."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _wait_ready(self) -> str:
        self._ready.wait(20)
        for line in self._lines:
            if line.startswith("serving at "):
                return line.removeprefix("serving at ").strip()
        self.stop()
        raise RuntimeError(f"a server hasn't started:\n{self.output}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if line.startswith("serving at "):
                    self._ready.set()
        self._ready.set()


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a server for as long as the block takes."""
    process = Process(command, env or {})
    try:
        yield process
    finally:
        process.stop()


def python_host(*options: str) -> list[str]:
    """Return the command of the Python server of these tests."""
    return [sys.executable, "-W", "error", "-m", "tests.interop.host", *options]


def typescript_server(*options: str) -> list[str]:
    """Return the command of the TypeScript server of these tests."""
    return ["node", str(Path(__file__).parent / "typescript_server.mjs"), *options]


class Outcome(NamedTuple):
    """What has become of a script."""

    code: int | None
    """Its exit code; None if it took too long."""

    output: str
    """What it has printed."""


def run_script(arguments: Sequence[str], env: Mapping[str, str], timeout: float, *, slowness: float = 1.0) -> Outcome:
    """Run a script of the TypeScript folder with node to its end, with timers that take so many times as long."""
    slow = ["--import", str(Path(__file__).parent / "slow_timers.mjs")]
    command = ["node", "--import", "tsx", *(slow if slowness != 1 else ()), *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=typescript_folder(),
            env={**os.environ, **env, "SLOWNESS": str(slowness)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return Outcome(None, output.decode(errors="replace") if isinstance(output, bytes) else output)
    return Outcome(done.returncode, done.stdout)
