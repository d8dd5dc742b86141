"""The demo: a server, a client that watches it, and a crash in between, in processes of their own."""

import argparse
import socket
import subprocess
import sys
import time

_CRASH_AT = 0.35
_RESTART_AT = 0.5


def main() -> int:
    """Run the demo; returns 0 only if the client has seen changes before and after the crash."""
    parser = argparse.ArgumentParser(prog="make demo", description="Live stock prices through a crash of their server.")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to run (default 20, at least 3)")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds for a month of history (default 0.5)")
    parser.add_argument("--plain", action="store_true", help="print lines instead of drawing a table")
    options = parser.parse_args()
    seconds = max(3.0, options.seconds)
    port = _free_port()
    url = f"ws://127.0.0.1:{port}"
    print(f"server at {url}; watch it from a second terminal with\n")
    print(
        f"    python -m refusion watch {url} StockApi.get_price AAPL --contract samples.stocks.contract\n", flush=True
    )

    command = [sys.executable, "-m", "samples.stocks.client", url, "--seconds", str(seconds)]
    server = _start_server(port, options.pace)
    client = subprocess.Popen(command + ["--plain"] * options.plain)
    started_at = time.monotonic()
    try:
        _wait_until(started_at + seconds * _CRASH_AT, client)
        print("*** the server process is killed ***", flush=True)
        server.kill()
        server.wait()
        _wait_until(started_at + seconds * _RESTART_AT, client)
        print("*** the server process is started again ***", flush=True)
        server = _start_server(port, options.pace)
        return client.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        for process in (client, server):
            process.kill()
            process.wait()


def _start_server(port: int, pace: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "samples.stocks.server", "--port", str(port), "--pace", str(pace)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _wait_until(deadline: float, client: subprocess.Popen[bytes]) -> None:
    """Wait, unless the client ends before."""
    try:
        client.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
