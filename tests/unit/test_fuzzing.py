"""The fuzzers see what they are there to see, and each target takes the inputs that it begins with."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fuzzing import _harness
from fuzzing._choices import Choices, mutated
from fuzzing._harness import Judge, Target
from fuzzing._mutation import Mutator
from fuzzing._running import RunningInput
from fuzzing.targets import load, names

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_alarm() -> Iterator[None]:
    previous = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, previous)


def target(check: object, **options: object) -> Target:
    return Target(name="planted", check=check, seeds=lambda: [b"seed"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", names())
def test_a_target_takes_what_it_begins_with(name: str) -> None:
    found = load(name)
    assert found.name == name
    seeds = [seed[: found.max_bytes] for seed in found.seeds()]
    assert len(seeds) > 2
    for seed in seeds:
        found.check(seed)


def test_an_error_is_a_finding_once_for_each_place(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        if data.startswith(b"a"):
            raise ValueError("planted")
        if data.startswith(b"b"):
            raise KeyError("planted, too")

    judge = Judge(target(check), tmp_path)
    for data in (b"a1", b"c", b"a2", b"b"):
        judge.run(data)
    assert [finding.problem for finding in judge.findings] == ["ValueError: planted", "KeyError: 'planted, too'"]
    assert [Path(finding.path).read_bytes() for finding in judge.findings] == [b"a1", b"b"]
    assert judge.executions == 4
    assert not judge.must_stop


def test_an_input_that_takes_long_is_a_finding(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    judge = Judge(target(check, seconds=0.02), tmp_path)
    judge.run(b"")
    assert judge.findings[0].problem == "it takes 0.1 s"


def test_an_input_that_takes_much_memory_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 0
    monkeypatch.setattr(_harness, "peak_memory", lambda: peak)

    def check(data: bytes) -> None:
        nonlocal peak
        peak += 100 * 1024 * 1024

    judge = Judge(target(check), tmp_path)
    judge.run(b"")
    assert judge.findings[0].problem == "it takes 100 MiB"


def test_memory_that_grows_from_input_to_input_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = 50 * 1024 * 1024
    monkeypatch.setattr(_harness, "resident_memory", lambda: resident)
    judge = Judge(target(lambda data: None), tmp_path)
    judge.quarter_passed()
    resident += 200 * 1024 * 1024
    judge.ended()
    assert judge.findings[0].problem == "memory grew by 200 MiB in a run of 0 inputs"


def test_an_input_that_hangs_ends_the_run_whatever_it_catches(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        while True:
            try:
                time.sleep(10)
            except Exception:
                continue

    judge = Judge(target(check, seconds=0.005), tmp_path)
    judge.run(b"x")
    assert judge.findings[0].problem == "_Hangs: it doesn't come to an end"
    assert judge.must_stop


def test_the_input_that_a_process_has_died_with_is_known(tmp_path: Path) -> None:
    running = RunningInput(tmp_path / "running", 8)
    running.set(b"first")
    running.set(b"last")
    assert RunningInput.read(tmp_path / "running") == b"last"
    running.set(b"more than eight bytes")
    assert RunningInput.read(tmp_path / "running") == b"more tha"


def test_plain_mutation_repeats_itself_and_gets_to_what_is_near() -> None:
    def inputs() -> list[bytes]:
        mutator = Mutator([b"\x00\x01\x02\x03", b"abcd"], [b"TOKEN"], 16, Random(1))
        return [mutator.next() for _ in range(5_000)]

    made = inputs()
    assert made == inputs()
    assert all(len(data) <= 16 for data in made)
    assert len(set(made)) > 3_000
    assert any(b"TOKEN" in data and b"b" in data for data in made)
    assert any(b"ab" in data and b"\x02\x03" in data for data in made)


def test_choices_come_from_the_input_and_then_are_the_first_ones() -> None:
    choices = Choices(b"\x05\x01\x02ab")
    assert (choices.below(4), choices.below(1_000), choices.take(5)) == (1, 258, b"ab")
    assert choices.is_over
    assert (choices.byte(), choices.pick("xyz"), choices.one_in(2), choices.number()) == (0, "x", False, 0)


def test_bytes_are_mutated_by_choice() -> None:
    assert mutated(b"abc", Choices(b"\x00\x01\x01\x7a")) == b"azc"
    assert mutated(b"", Choices(b"\x02")) == b""


def test_a_finding_ends_the_command_with_an_error_and_no_finding_does_not(tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "fuzzing.run", "--engine", "plain", "--seconds", "0.2", "--seed", "1"]
        return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    good = run("ids")
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "no findings")

    code = (
        "import fuzzing.targets.ids as ids, refusion.rpc.protocol as protocol, runpy, sys\n"
        "ids.ids_to_bytes = lambda ids: b''\n"
        "sys.argv = ['worker', 'ids', '--engine', 'plain', '--seconds', '0.2', '--seed', '1', "
        f"'--corpus', {str(tmp_path)!r}, '--findings', {str(tmp_path)!r}]\n"
        "runpy.run_module('fuzzing._worker', run_name='__main__')\n"
    )
    bad = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "AssertionError" in bad.stdout
    assert run("ids", "--replay", str(next(tmp_path.glob("ids-*")))).returncode == 0
    assert run("nothing").returncode == 2
