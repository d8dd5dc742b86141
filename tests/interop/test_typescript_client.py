"""The reference's TypeScript client against a Python server: its own end-to-end script, every scenario, every format.

All of it on each transport. Each scenario has a server process of its own, since scenarios count what was called. Most
of their time is waiting for the clock, so a few run at once; a test waits for its own, and shows what both sides have
said when it fails.

One scenario is tried again when it fails, and only if the server can show that the script was late; see `was_late`.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from .runs import missing, python_host, run_script, running

SCRIPT = "e2e/ts-dotnet-e2e.ts"
FORMATS = ("json5np", "json5", "msgpack6", "msgpack6c")
TRANSPORTS = ("websockets", "picows", "asgi")
SCENARIOS = (
    "basic-types",
    "error-propagation",
    "overload-resolution",
    "compute-invalidation",
    "auto-reconnect",
    "reconnect-no-duplicate",
    "stream-no-reconnect",
    "reconnection-torture",
    "server-restart",
    "all",
    *(f"reconnect-matrix:{cell}" for cell in ("F1", "F2", "F3", "F4", "F5", "F6", "R1", "R2", "R3")),
)
AT_ONCE = 3
TRIES = 4
LONGEST = 90.0
"""How long one scenario may take, in seconds; the longest takes a third of that."""

if reason := missing(SCRIPT, "node_modules/tsx", "node_modules/ws", "node_modules/@actuallab/fusion-rpc/dist"):
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.timeout(300)


class Run(NamedTuple):
    """One scenario in one format on one transport."""

    scenario: str
    format: str
    transport: str


def play(run: Run) -> tuple[str, ...]:
    """Run a scenario, again if the script was late; returns what was wrong each time, the last time "" if it passed."""
    problems: list[str] = []
    while len(problems) < TRIES:
        problem, is_excused = play_once(run)
        problems.append(problem)
        if not is_excused:
            break
    return tuple(problems)


def play_once(run: Run) -> tuple[str, bool]:
    """Run a scenario; returns what was wrong, and whether the script was late."""
    try:
        with running(python_host("--format", run.format, "--transport", run.transport)) as host:
            env = {"RPC_SERVER_URL": host.url, "RPC_FORMAT": run.format}
            outcome = run_script([SCRIPT, run.scenario], env, LONGEST)
    except RuntimeError as error:
        return str(error), False
    problem = ""
    if outcome.code is None:
        problem = f"took longer than {LONGEST:g} s"
    elif outcome.code != 0 or "ALL TESTS PASSED" not in outcome.output:
        problem = f"ended with {outcome.code}"
    elif "Traceback" in host.output:
        problem = "passed, but the server has reported an error"
    if not problem:
        return "", False
    text = f"{run.scenario} {problem}\n-- client --\n{outcome.output}\n-- server --\n{host.output}"
    return text, was_late(run.scenario, outcome.output, host.output)


LATE_SCENARIO = "reconnect-matrix:F3"
LATE_ASSERTION = "Assertion failed: compute invocation count for callKey=1: expected 1, got 2"
LATE_EVENTS = ["computing 1", "invalidating 1", "computing 1", "invalidating 1"]


def was_late(scenario: str, client_output: str, server_output: str) -> bool:
    """Tell whether a scenario failed because the script has missed its moment.

    In F3 a computed invalidates itself 600 ms after it was asked for. The script breaks the connection after 50 ms, for
    300 ms, waits another 200 ms and asks again, which must not compute again: it has 50 ms for the reconnect and for
    all delays of its timers. If the server has computed again only *after* the computed was invalidated, nothing but
    that has happened. In every other order it would have computed what was consistent, and that is no excuse.
    """
    if scenario != LATE_SCENARIO or LATE_ASSERTION not in client_output:
        return False
    events = [line for line in server_output.splitlines() if line.startswith(("computing", "invalidating"))]
    return events == LATE_EVENTS[: max(3, len(events))]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[Run, "Future[tuple[str, ...]]"]]:
    """All scenarios that were chosen, in the order of their tests, a few at once."""
    chosen = [item.callspec.params["run"] for item in request.session.items if _is_scenario(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {run: pool.submit(play, run) for run in chosen}
        yield futures
        for future in futures.values():
            future.cancel()


def _is_scenario(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.obj.__name__ == test_a_scenario_passes.__name__


def scenarios() -> list[object]:
    return [
        pytest.param(Run(scenario, format, transport), id=f"{transport}-{format}-{scenario}")
        for transport in TRANSPORTS
        for format in FORMATS
        for scenario in SCENARIOS
    ]


@pytest.mark.parametrize("run", scenarios())
def test_a_scenario_passes(runs: dict[Run, "Future[tuple[str, ...]]"], run: Run) -> None:
    *excused, problem = runs[run].result()
    for text in excused:
        print("the script was late, so it was tried again:", text, sep="\n")
    assert not problem, problem


@pytest.mark.parametrize(
    "events",
    [
        # Computed again while it was consistent: a real fault.
        ["computing 1", "computing 1", "invalidating 1", "invalidating 1"],
        ["computing 1", "computing 1"],
        ["computing 1", "invalidating 1", "computing 1", "computing 1"],
        ["computing 1"],
        [],
    ],
)
def test_only_lateness_is_an_excuse(events: list[str]) -> None:
    assert not was_late(LATE_SCENARIO, LATE_ASSERTION, "\n".join(events))
    late = "\n".join(LATE_EVENTS[:3])
    assert was_late(LATE_SCENARIO, LATE_ASSERTION, late)
    assert not was_late(LATE_SCENARIO, "FAILED: Error: F3 invalidation timeout", late)
    assert not was_late("reconnect-matrix:F5", LATE_ASSERTION, late)
