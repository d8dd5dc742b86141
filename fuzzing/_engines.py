"""What makes inputs: atheris, which looks at the code that they reach, or plain random mutation."""

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

from ._harness import Judge
from ._mutation import Mutator

__all__ = ["ENGINES", "default_engine", "instrumented", "run_atheris", "run_plain"]

ENGINES = ("atheris", "plain")


def default_engine() -> str:
    """Return the best engine that is there."""
    return "atheris" if importlib.util.find_spec("atheris") is not None else "plain"


def instrumented(engine: str) -> AbstractContextManager[Any]:
    """Return the `with` block to import the code under test in."""
    if engine != "atheris":
        return nullcontext()
    import atheris

    block: AbstractContextManager[Any] = atheris.instrument_imports(include=["refusion"])
    return block


def run_plain(judge: Judge, seconds: float, seed: int, ended: Callable[[], None]) -> None:
    """Run mutations of the seeds for a while."""
    seeds = list(judge.target.seeds())
    mutator = Mutator(seeds, judge.target.tokens, judge.target.max_bytes, Random(seed))
    run = _timed(judge, seconds, ended)
    for data in seeds:
        run(data)
    while True:
        run(mutator.next())


def run_atheris(judge: Judge, seconds: float, seed: int, corpus: Path, ended: Callable[[], None]) -> None:
    """Run what atheris makes of a corpus for a while; new inputs that reach new code are added to it."""
    import atheris

    target = judge.target
    options = [f"-seed={seed or 1}", f"-max_len={target.max_bytes}", "-timeout=0", "-rss_limit_mb=0", "-verbosity=0"]
    if target.tokens:
        tokens = corpus.with_suffix(".dict")
        tokens.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens))
        options.append(f"-dict={tokens}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], _timed(judge, seconds, ended))
    atheris.Fuzz()


def _timed(judge: Judge, seconds: float, ended: Callable[[], None]) -> Callable[[bytes], None]:
    """Return what runs one input, and ends the process when time is up: there is no other way out of libFuzzer."""
    started = time.monotonic()
    quarter, end = started + seconds / 4, started + seconds
    is_warm = False

    def run(data: bytes) -> None:
        nonlocal is_warm
        judge.run(data)
        now = time.monotonic()
        if not is_warm and now >= quarter:
            is_warm = True
            judge.quarter_passed()
        if now >= end or judge.must_stop:
            judge.ended()
            ended()
            sys.stdout.flush()
            os._exit(0)

    return run


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)
