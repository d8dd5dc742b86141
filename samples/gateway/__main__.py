"""Prices through gateways, each in a process of its own: `python -m samples.gateway`.

origin -> gateway -> edge -> 20 clients. The clients read thousands of times, the origin is asked once for each change.
In between the edge is killed and started again.
"""

import argparse
import subprocess
import sys
import time
from urllib.parse import urlsplit

_CRASH_AT = 0.4
_RESTART_AT = 0.5


def main() -> int:
    """Run the demo; returns 0 only if the clients have seen changes before and after the crash."""
    parser = argparse.ArgumentParser(prog="python -m samples.gateway", description="Prices through gateways.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to run (default 10, at least 3)")
    parser.add_argument("--pace", type=float, default=0.25, help="seconds between two changes (default 0.25)")
    parser.add_argument("--plain", action="store_true", help="print lines instead of one that changes")
    options = parser.parse_args()
    seconds = max(3.0, options.seconds)
    processes: list[subprocess.Popen[str]] = []
    try:
        origin_url = _start(processes, "origin", "--pace", str(options.pace))
        gateway_url = _start(processes, "gateway", origin_url)
        edge_url = _start(processes, "gateway", gateway_url)
        print(f"origin {origin_url} -> gateway {gateway_url} -> edge {edge_url} -> clients\n", flush=True)
        edge = processes[-1]
        command = [sys.executable, "-m", "samples.gateway.clients", edge_url, "--seconds", str(seconds)]
        clients = subprocess.Popen(command + ["--plain"] * options.plain, text=True)
        processes.append(clients)
        started_at = time.monotonic()
        _wait_until(started_at + seconds * _CRASH_AT, clients)
        print("\n*** the edge is killed ***", flush=True)
        edge.kill()
        edge.wait()
        _wait_until(started_at + seconds * _RESTART_AT, clients)
        print("*** the edge is started again ***", flush=True)
        _start(processes, "gateway", gateway_url, "--port", str(urlsplit(edge_url).port))
        return clients.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _start(processes: list["subprocess.Popen[str]"], module: str, *arguments: str) -> str:
    """Start a server process, and return its URL."""
    command = [sys.executable, "-m", f"samples.gateway.{module}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    processes.append(process)
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _wait_until(deadline: float, clients: "subprocess.Popen[str]") -> None:
    """Wait, unless the clients end before."""
    try:
        clients.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return


if __name__ == "__main__":
    sys.exit(main())
