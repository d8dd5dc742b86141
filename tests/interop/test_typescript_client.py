"""The reference's TypeScript client against a Python server: its own end-to-end script, every scenario, every format.

Each scenario has a server process of its own, since scenarios count what was called. Most of their time is waiting for
the clock, so a few run at once; a test waits for its own, and shows what both sides have said when it fails.

The script goes by the clock: some of its steps have to be done within 50 ms. On a busy machine a scenario may miss that
through no fault of either side, so one that fails is tried again, with fewer others beside it.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import pytest

from .runs import missing, python_host, run_script, running

SCRIPT = "e2e/ts-dotnet-e2e.ts"
FORMATS = ("json5np", "json5", "msgpack6", "msgpack6c")
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
AT_ONCE = 6
TRIES = 3
LONGEST = 90.0
"""How long one scenario may take, in seconds; the longest takes a third of that."""

if reason := missing(SCRIPT, "node_modules/tsx", "node_modules/ws", "node_modules/@actuallab/fusion-rpc/dist"):
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.timeout(300)

Run = tuple[str, str, str]


_again = Lock()


def play(scenario: str, format: str, transport: str) -> str:
    """Run a scenario; returns what was wrong, if it was so each time."""
    problem = play_once(scenario, format, transport)
    for _ in range(TRIES - 1):
        if problem:
            with _again:
                problem = play_once(scenario, format, transport)
    return problem


def play_once(scenario: str, format: str, transport: str) -> str:
    """Run a scenario; returns what was wrong."""
    try:
        with running(python_host("--format", format, "--transport", transport)) as host:
            env = {"RPC_SERVER_URL": host.url, "RPC_FORMAT": format}
            outcome = run_script([SCRIPT, scenario], env, LONGEST)
    except RuntimeError as error:
        return str(error)
    problem = ""
    if outcome.code is None:
        problem = f"took longer than {LONGEST:g} s"
    elif outcome.code != 0 or "ALL TESTS PASSED" not in outcome.output:
        problem = f"ended with {outcome.code}"
    elif "Traceback" in host.output:
        problem = "passed, but the server has reported an error"
    return problem and f"{scenario} {problem}\n-- client --\n{outcome.output}\n-- server --\n{host.output}"


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[Run, "Future[str]"]]:
    """All scenarios that were chosen, in the order of their tests, a few at once."""
    chosen = [item.callspec.params["run"] for item in request.session.items if _is_scenario(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {run: pool.submit(play, *run) for run in chosen}
        yield futures
        for future in futures.values():
            future.cancel()


def _is_scenario(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.obj.__name__ == test_a_scenario_passes.__name__


def scenarios() -> list[object]:
    transports = {format: ("websockets", "picows")[index % 2] for index, format in enumerate(FORMATS)}
    return [
        pytest.param((scenario, format, transports[format]), id=f"{format}-{scenario}")
        for format in FORMATS
        for scenario in SCENARIOS
    ]


@pytest.mark.parametrize("run", scenarios())
def test_a_scenario_passes(runs: dict[Run, "Future[str]"], run: Run) -> None:
    problem = runs[run].result()
    assert not problem, problem
