"""A real nginx, from Debian's packages, that runs in a folder and on a port of its own."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["Nginx", "missing"]

ROOT = Path(__file__).parents[2]
_NO_SERVICES = Path("/usr/sbin/policy-rc.d")


@cache
def missing() -> str:
    """Return why nginx can't be had here, or "": it is installed if it isn't there."""
    if _nginx() is not None:
        return ""
    if shutil.which("apt-get") is None:
        return "there is no nginx on PATH, and no apt-get to install it with"
    if os.geteuid() != 0:
        return "there is no nginx on PATH, and only root can install it: apt-get install nginx-light"
    with _no_services():
        for arguments in (("update",), ("install", "-y", "--no-install-recommends", "nginx-light")):
            command = ["apt-get", "-qq", "-o", "Acquire::Retries=2", *arguments]
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
            if done.returncode != 0:
                return f"nginx can't be installed: {' '.join(command)}: {done.stderr.strip()[-300:]}"
    return "" if _nginx() else "nginx-light was installed, and there is no nginx on PATH"


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting what they bring."""
    if _NO_SERVICES.exists():
        yield
        return
    _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
    _NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        _NO_SERVICES.unlink()


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nginx:
    """Passes on what comes to `port` to the `upstreams`, with the configuration that docs/deploying.md shows."""

    def __init__(self, folder: Path, *upstreams: int, read_timeout: float = 60) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._config = folder / "nginx.conf"
        self._config.write_text(self._configuration(upstreams, read_timeout))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [_nginx() or "nginx", "-p", str(self._folder), "-c", str(self._config), "-e", "error.log"]
        self._process = subprocess.Popen(command, start_new_session=True)
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"nginx doesn't start: {self.log}")

    def reload(self) -> None:
        """Read the configuration again: new processes take new connections, the old ones end soon."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End all of its processes at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    @property
    def log(self) -> str:
        log = self._folder / "error.log"
        return log.read_text() if log.exists() else "(no log)"

    def _configuration(self, upstreams: tuple[int, ...], read_timeout: float) -> str:
        page = (ROOT / "docs" / "deploying.md").read_text()
        site, several = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        site = _replace(site, "listen 80;", f"listen 127.0.0.1:{self.port};")
        site = _replace(site, "proxy_read_timeout 60s;", f"proxy_read_timeout {round(read_timeout * 1000)}ms;")
        if len(upstreams) == 1:
            site = _replace(site, "127.0.0.1:8080", f"127.0.0.1:{upstreams[0]}")
        else:
            for number, port in enumerate(upstreams, 1):
                several = _replace(several, f"127.0.0.1:808{number}", f"127.0.0.1:{port}")
            site = several + _replace(site, "127.0.0.1:8080", "rpc")
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "\n".join(
            f"{name}_temp_path {self._folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"{user}\ndaemon off;\npid {self._folder}/nginx.pid;\nworker_processes 1;\nworker_shutdown_timeout 200ms;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}\n{site}\n}}\n"
        )


def _replace(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"docs/deploying.md doesn't have {old!r} once"
    return text.replace(old, new)
