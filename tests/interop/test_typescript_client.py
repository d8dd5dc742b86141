"""The reference's TypeScript client against a Python server: its own end-to-end script, every scenario, every format.

All of it on each transport. Each scenario has a server process of its own, since scenarios count what was called. Most
of their time is waiting for the clock, so a few run at once; a test waits for its own, and shows what both sides have
said when it fails. Nothing is tried twice.
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
SLOWNESS = {"reconnect-matrix:F3": 10.0, "reconnect-matrix:R3": 4.0}
"""How many times as long all delays of a scenario take, on both sides.

As they are written these two leave very little time. In F3 a computed invalidates itself 600 ms after it was asked for;
the script breaks the connection after 50 ms, for 300 ms, waits another 200 ms and asks again, which has to find it
consistent: the reconnect and all processes that wait for their turn have 50 ms. In R3 they have 70 ms.
"""

AT_ONCE = 3
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


def play(run: Run) -> str:
    """Run a scenario; returns what was wrong."""
    slowness = SLOWNESS.get(run.scenario, 1.0)
    options = ("--format", run.format, "--transport", run.transport, "--slowness", str(slowness))
    try:
        with running(python_host(*options)) as host:
            env = {"RPC_SERVER_URL": host.url, "RPC_FORMAT": run.format}
            outcome = run_script([SCRIPT, run.scenario], env, LONGEST, slowness=slowness)
    except RuntimeError as error:
        return str(error)
    problem = ""
    if outcome.code is None:
        problem = f"took longer than {LONGEST:g} s"
    elif outcome.code != 0 or "ALL TESTS PASSED" not in outcome.output:
        problem = f"ended with {outcome.code}"
    elif "Traceback" in host.output:
        problem = "passed, but the server has reported an error"
    return problem and f"{run.scenario} {problem}\n-- client --\n{outcome.output}\n-- server --\n{host.output}"


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[Run, "Future[str]"]]:
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
def test_a_scenario_passes(runs: dict[Run, "Future[str]"], run: Run) -> None:
    problem = runs[run].result()
    assert not problem, problem
