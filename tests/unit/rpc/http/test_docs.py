"""What docs/http.md shows is what happens, with a real server and a real curl."""

import contextlib
import io
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "http.md").read_text()
SAMPLE = (ROOT / "samples" / "greetings.py").read_text()
ADDRESS = "127.0.0.1:8000"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "samples.greetings:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        for _ in range(1_000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert server.poll() is None
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@needs_curl
def test_curl_prints_what_the_page_shows(address: str) -> None:
    shown = "".join(blocks("console"))
    printed: list[str] = []
    for line in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        command = shlex.split(line.replace(ADDRESS, address))
        command[1:1] = ["--silent", "--show-error", "--noproxy", "*"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        printed += [f"$ {line}", done.stdout]
    assert "\n".join(printed) + "\n" == shown
    assert len(printed) == 14


@needs_curl
def test_a_form_as_curl_sends_it_by_default_is_refused(address: str) -> None:
    url = f"http://{address}/rpc/http/Greeter/Forget"
    command = ["curl", "-s", "--noproxy", "*", "-i", "-d", '{"name": "Ann"}', url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.startswith("HTTP/1.1 415 ")
    assert "'application/x-www-form-urlencoded'" in done.stdout


@needs_curl
def test_curl_can_stop_waiting_for_a_large_body_to_be_refused(address: str, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_bytes(b'["' + b"x" * 17_000_000 + b'"]')
    url = f"http://{address}/rpc/http/Greeter/Forget"
    command = ["curl", "-s", "--noproxy", "*", "-w", "%{http_code} %{size_upload}", "-o", "/dev/null"]
    done = subprocess.run(
        [*command, "--json", f"@{large}", url], capture_output=True, text=True, check=True, timeout=20
    )
    status, uploaded = done.stdout.split()
    assert status == "413"
    assert int(uploaded) < 17_000_000


def test_the_python_snippet_prints_a_greeting(address: str) -> None:
    (snippet,) = [block for block in blocks("python") if "urlopen" in block]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(snippet.replace(ADDRESS, address), {})
    assert output.getvalue() == "Good day, dear Bob.\n"


def test_the_sample_on_the_page_is_the_sample() -> None:
    contract, setup = blocks("python")[:2]
    assert contract in SAMPLE
    assert SAMPLE.endswith(setup)


def test_the_openapi_snippet_runs() -> None:
    from refusion.rpc.http import RpcHttpEndpoint
    from refusion.rpc.transports.asgi import RpcEndpoint
    from samples.greetings import hub

    (snippet,) = [block for block in blocks("python") if "openapi()" in block]
    names = {"hub": hub, "RpcHttpEndpoint": RpcHttpEndpoint, "RpcEndpoint": RpcEndpoint}
    exec(snippet, names)
    document = names["document"]
    assert isinstance(document, dict)
    assert document["info"] == {"title": "Greetings", "version": "1.0"}
    assert document["paths"]["/Greeter/Greet"]["post"]["summary"] == "Greet somebody."


def test_the_page_tells_every_status_that_there_is() -> None:
    from refusion.rpc.http import _problems

    told = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert told == {200, 202, 204, *_problems._TITLES}
