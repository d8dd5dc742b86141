"""Processes that a benchmark drives: commands go in as lines of JSON, answers come out the same way."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, Self

__all__ = ["Worker", "obey", "pin", "pinning"]

_ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., Awaitable[Any]]


def pinning() -> tuple[int | None, int | None]:
    """Return the cores for clients and for servers; None if there is only one, or processes can't be bound to it."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Bind this process to a core, if one is given."""
    if core is not None:
        os.sched_setaffinity(0, {core})


class Worker:
    """A process that obeys: `worker("load", case="add")` sends a command and waits for its answer."""

    def __init__(self, module: str, *args: str, core: int | None = None) -> None:
        """Start `python -m module *args` and wait until it is ready."""
        self.name = " ".join((module, *args))
        pinned = () if core is None else (f"--core={core}",)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args, *pinned],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready: Any = self._receive()
        """What it had to say when it was ready."""

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def __call__(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has died (exit status {self._process.wait()}); see above")
        return json.loads(line)


async def obey(ready: Any, commands: dict[str, Command]) -> NoReturn:
    """Carry out the commands of the process that has started this one, until it has no more; then end."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        # A thread, because not every event loop can read any kind of standard input.
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    commands = {"collect": _collect, "cpu": _cpu, **commands}
    _say(ready)
    while line := await lines.get():
        name, arguments = json.loads(line)
        _say(await commands[name](**arguments))
    # There is nothing to save, and some libraries complain at length about being left with connections.
    os._exit(0)


async def _collect() -> None:
    """Get the garbage out of the way of what is measured next."""
    gc.collect()


async def _cpu() -> float:
    """Return the seconds of CPU that this process has used, in all threads."""
    return time.process_time()


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)
