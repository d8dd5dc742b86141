"""Runs targets, each in a process of its own: `python -m fuzzing.run --seconds 60 [target ...]`.

With atheris where it is installed; elsewhere with plain random mutation, which sees less. Ends with 1 if there
is a finding; the inputs are kept in `fuzzing/findings`, and `--replay FILE target` runs one of them again.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ._engines import ENGINES, default_engine
from ._harness import Finding
from ._running import RunningInput
from ._worker import Report, command
from .seed import CORPUS
from .targets import names

__all__ = ["main"]

FINDINGS = Path(__file__).parent / "findings"
_START_SECONDS = 60.0
"""What a process may need to start, and for its last input."""


def main() -> int:
    """Run the targets that the command line names."""
    options = _parse()
    engine = options.engine or default_engine()
    if engine == "plain" and options.engine is None:
        print("atheris isn't installed here (pip install atheris): plain random mutation, which sees less")
    seed = random.randrange(1, 2**31) if options.seed is None else options.seed
    print(f"engine {engine}, seed {seed}, {options.seconds:g} s for each of {len(options.targets)} targets")
    print(f"{'target':<18} {'inputs':>10} {'inputs/s':>9} {'peak MiB':>9}  findings")
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        corpus = Path(scratch) if options.fresh else CORPUS
        runs = {
            name: pool.submit(
                _run,
                name,
                command(
                    name,
                    engine=engine,
                    seconds=options.seconds,
                    seed=seed,
                    corpus=corpus / name,
                    findings=FINDINGS,
                    replay=options.replay,
                ),
                options.seconds,
            )
            for name in options.targets
        }
        count = sum(_show(name, run.result(), options.seconds) for name, run in runs.items())
    print(f"{count} findings" if count else "no findings")
    return int(count > 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzzing.run", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of: {', '.join(names())}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each target runs (60)")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at once (1)")
    parser.add_argument("--seed", type=int, help="of the random numbers; by default another one each time")
    parser.add_argument("--engine", choices=ENGINES, help="by default atheris, if it is installed")
    parser.add_argument("--fresh", action="store_true", help="begin with the seeds alone, and keep no new inputs")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this one input of one target")
    options = parser.parse_args()
    unknown = set(options.targets) - set(names())
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))} (there are: {', '.join(names())})")
    if options.replay is not None and len(options.targets) != 1:
        parser.error("say of which target the input is")
    options.targets = options.targets or list(names())
    return options


def _run(name: str, arguments: list[str], seconds: float) -> Report:
    """Run one target in a process; one that dies, or doesn't end, is a finding itself."""
    started = time.monotonic()
    # Without hash randomization a run with the same seed is the same run.
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONHASHSEED": "0"}
    )
    try:
        output, errors = process.communicate(timeout=seconds + _START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Report(0, 0, [_lost(name, f"it hangs: no end after {time.monotonic() - started:.0f} s", "")])
    try:
        return msgspec.json.decode(output, type=Report)
    except msgspec.DecodeError:
        tail = errors.decode(errors="replace")[-4_000:]
        return Report(0, 0, [_lost(name, f"the process died with {process.returncode}", tail)])


def _lost(name: str, problem: str, details: str) -> Finding:
    running = FINDINGS / f"{name}.running"
    if not running.exists():
        return Finding(problem, details, "")
    path = FINDINGS / f"{name}-last"
    path.write_bytes(RunningInput.read(running))
    return Finding(problem, details, str(path))


def _show(name: str, report: Report, seconds: float) -> int:
    rate = report.executions / seconds
    found = len(report.findings) or "-"
    print(f"{name:<18} {report.executions:>10,} {rate:>9,.0f} {report.peak_mib:>9,}  {found}", flush=True)
    for finding in report.findings:
        print(f"\n  {finding.problem}\n  input: {finding.path or 'none'}\n{finding.details}", flush=True)
    return len(report.findings)


if __name__ == "__main__":
    sys.exit(main())
