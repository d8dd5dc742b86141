"""One target in a process of its own; says on its standard output, in JSON, what came of it."""

import argparse
import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from ._engines import ENGINES, instrumented, run_atheris, run_plain
from ._harness import Finding, Judge
from ._memory import peak_memory
from .targets import load

__all__ = ["Report", "command"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of one target has come to."""

    executions: int
    peak_mib: int
    findings: list[Finding]


def command(
    name: str, *, engine: str, seconds: float, seed: int, corpus: Path, findings: Path, replay: Path | None
) -> list[str]:
    """Return the command line that runs a target."""
    arguments = [sys.executable, "-m", __name__, name, "--engine", engine, "--seconds", str(seconds)]
    arguments += ["--seed", str(seed), "--corpus", str(corpus), "--findings", str(findings)]
    return arguments if replay is None else [*arguments, "--replay", str(replay)]


def main() -> None:
    """Run one target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    # What the code under test has to say about bad input isn't of interest here.
    logging.disable(logging.CRITICAL)
    with instrumented("plain" if options.replay else options.engine):
        target = load(options.target)
    judge = Judge(target, options.findings)

    def report() -> None:
        peak = peak_memory() // (1024 * 1024)
        sys.stdout.buffer.write(msgspec.json.encode(asdict(Report(judge.executions, peak, judge.findings))))
        sys.stdout.buffer.flush()

    if options.replay is not None:
        judge.run(options.replay.read_bytes())
        report()
    elif options.engine == "atheris":
        from .seed import write_seeds

        write_seeds(target, options.corpus)
        run_atheris(judge, options.seconds, options.seed, options.corpus, report)
    else:
        run_plain(judge, options.seconds, options.seed, report)


if __name__ == "__main__":
    main()
