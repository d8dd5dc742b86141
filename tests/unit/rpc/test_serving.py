"""Inside of web frameworks, with a real server: what docs/serving.md shows is what runs."""

import asyncio
import contextlib
import importlib
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from refusion import FusionHub
from refusion._base._retries import RetryDelays
from refusion.rpc import RpcConnectionKind, RpcHub, RpcLimits
from refusion.rpc.transports.asgi import RpcEndpoint
from samples.greetings import Greeter, Guest

from .world import Worker, WorkerService

ROOT = Path(__file__).parents[3]
FRAMEWORKS = ("starlette", "fastapi", "litestar", "django")
PAGE = (ROOT / "docs" / "serving.md").read_text()
LIMITS = RpcLimits(reconnect_delays=RetryDelays(0.02, 0.2), drain_timeout=0.0)


class Served:
    """An application in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> str:
        """Ask it to stop, as a supervisor does, and return what it has printed."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = await self.process.communicate()
        return errors.decode()


@asynccontextmanager
async def served(app: str) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "uvicorn", app, "--port", "0", "--lifespan", "on"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        while not (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", "".join(lines))):
            line = (await process.stderr.readline()).decode()
            assert line, "".join(lines)
            lines.append(line)
        yield Served(process, int(found[1]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_it_is_reached_within_a_framework_and_stops_with_it(framework: str) -> None:
    async with served(f"samples.serving.with_{framework}:app") as server, FusionHub(limits=LIMITS) as hub:
        peer = hub.peer(f"ws://{server.address}/rpc/ws")
        greeter = hub.client(Greeter, peer)
        async with asyncio.timeout(20):
            count = await greeter.get_count.capture("Ann")
            assert await greeter.greet(Guest("Ann")) == "Hello, Ann!"
            await count.wait_invalidated()
            assert await greeter.get_count("Ann") == 1
            async with httpx.AsyncClient(base_url=f"http://{server.address}", trust_env=False) as http:
                assert (await http.post("/rpc/http/Greeter/GetCount", json=["Ann"])).json() == 1
                document = (await http.get("/rpc/http/openapi.json")).json()
                assert document["servers"] == [{"url": "/rpc/http"}]
                assert (await http.get("/rpc/ws")).status_code == 426
                welcome = await http.get("/")
                assert (welcome.status_code, welcome.text) == (200, "Welcome!")
                assert (await http.get("/elsewhere")).status_code == 404
            errors = await server.stop()
            await peer.wait_state(RpcConnectionKind.DISCONNECTED)
        assert server.process.returncode in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in errors
        assert "Error" not in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_page_shows_what_runs(framework: str) -> None:
    source = (ROOT / "samples" / "serving" / f"with_{framework}.py").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in shown if f"# samples/serving/with_{framework}.py" in block]
    for piece in re.split(r"\n\n\n", block.partition("\n")[2].strip()):
        assert piece.strip() in source, piece


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_closes_the_hub_when_it_stops(framework: str) -> None:
    if framework == "django":
        pytest.skip("it would configure Django for all tests; the endpoint itself is tested below")
    module = importlib.import_module(f"samples.serving.with_{framework}")

    async def run_and_stop() -> None:
        async with running(module.app) as (server, _):
            assert not module.hub.is_closed
            server.should_exit = True
        assert module.hub.is_closed

    asyncio.run(run_and_stop())


async def test_an_endpoint_that_is_the_whole_application_closes_its_hub() -> None:
    hub = RpcHub(limits=LIMITS)
    async with running(RpcEndpoint(hub)) as (server, _):
        server.should_exit = True
    assert hub.is_closed


async def test_a_call_that_runs_when_a_server_stops_is_made_again_with_the_next_one() -> None:
    service = WorkerService()
    async with RpcHub(limits=LIMITS) as client:
        call: asyncio.Future[str] | None = None
        port = 0
        for number in range(2):
            hub = RpcHub(limits=LIMITS)
            hub.add_service(Worker, service)
            async with running(RpcEndpoint(hub), port=port) as (server, port):
                if call is None:
                    call = asyncio.ensure_future(client.client(Worker, f"ws://127.0.0.1:{port}").wait("a"))
                while len(service.log) <= number:
                    await asyncio.sleep(0)
                if number == 0:
                    server.should_exit = True
                    continue
                service.let_go("a")
                assert await call == "a done"
                server.should_exit = True
        assert service.log == ["wait(a)"] * 2
        assert service.cancelled == ["a"]


@asynccontextmanager
async def running(app: object, *, port: int = 0) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """Run an application in this process; the test lets it exit."""
    config = uvicorn.Config(
        app, port=port, log_level="critical", lifespan="on", ws_per_message_deflate=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            yield server, server.servers[0].sockets[0].getsockname()[1]
            await task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
