"""Processes with many connections: `python -m benchmarks._connections server NAME`, or `client NAME URL`."""

import argparse
import asyncio
import contextlib
import gc
import resource
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from refusion import Computed, FusionHub, compute_method

from ._processes import obey, pin

__all__ = ["STACKS", "allowed_connections"]

_AT_ONCE: Final = 100
"""How many connections are made at the same time; no more than a server's backlog."""

_FILES_FOR_ITSELF: Final = 64
_WORD: Final = bytes(12)
"""What bare connections are told: as long as an invalidation."""

_READ_BUFFER: Final = 2_048
"""As refusion has it, so that the rest can be compared; the default is 16 KiB for each connection."""

_OPTIONS: Final[dict[str, Any]] = {"compression": None, "ping_interval": None}


class Server(ABC):
    """Accepts connections, and tells all of them something at once."""

    @abstractmethod
    async def serve(self) -> str:
        """Listen at a free port and return the URL."""

    @abstractmethod
    def tell(self) -> None:
        """Tell everybody."""


class Clients(ABC):
    """Many connections with one server."""

    def __init__(self) -> None:
        self._told = 0
        self._all_told: asyncio.Future[float] | None = None

    @abstractmethod
    async def connect(self, url: str, number: int) -> None:
        """Make the connection with this number, and be sure that the server has it."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many connections there are."""

    async def subscribe(self) -> None:
        """Ask to be told."""
        self._told = 0
        self._all_told = asyncio.get_running_loop().create_future()

    async def wait_told(self) -> float:
        """Return when the last one was told, in monotonic time."""
        assert self._all_told is not None
        return await asyncio.wait_for(self._all_told, 30)

    def told(self) -> None:
        """Note that one was told."""
        self._told += 1
        if self._told == len(self) and self._all_told is not None:
            self._all_told.set_result(time.monotonic())


# refusion


class Board:
    """The contract."""

    @compute_method
    async def price(self) -> int:
        raise NotImplementedError


class BoardService(Board):
    @compute_method
    async def price(self) -> int:
        return 5


class _FusionServer(Server):
    def __init__(self, transport: str) -> None:
        self._hub = FusionHub(transport=transport)
        self._service = BoardService()
        self._hub.add_service(Board, self._service)

    async def serve(self) -> str:
        return (await self._hub.serve()).url

    def tell(self) -> None:
        self._service.price.invalidate()


class _FusionClients(Clients):
    def __init__(self, transport: str) -> None:
        super().__init__()
        self._hub = FusionHub(transport=transport)
        self._urls: list[str] = []
        self._boards: list[Board] = []
        self._replicas: list[Computed[int]] = []

    async def connect(self, url: str, number: int) -> None:
        # A hub has one connection for each URL, whatever is in it.
        own_url = f"{url}?number={number}"
        await self._hub.peer(own_url).wait_connected()
        self._urls.append(own_url)

    def __len__(self) -> int:
        return len(self._urls)

    async def subscribe(self) -> None:
        await super().subscribe()
        if not self._boards:
            self._boards = [self._hub.client(Board, url) for url in self._urls]
        self._replicas = [await board.price.capture() for board in self._boards]
        for replica in self._replicas:
            replica.on_invalidated(lambda _: self.told())


# Nothing but picows


class _PicowsServer(Server):
    def __init__(self) -> None:
        self.transports: set[WSTransport] = set()

    async def serve(self) -> str:
        self._server = await ws_create_server(
            lambda _: _PicowsConnection(self), "127.0.0.1", 0, read_buffer_init_size=_READ_BUFFER
        )
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def tell(self) -> None:
        for transport in self.transports:
            transport.send(WSMsgType.BINARY, _WORD)


class _PicowsConnection(WSListener):
    def __init__(self, server: _PicowsServer) -> None:
        self._server = server

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._server.transports.add(transport)


class _PicowsListener(WSListener):
    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._clients.told()


class _PicowsClients(Clients):
    def __init__(self) -> None:
        super().__init__()
        self._transports: list[WSTransport] = []

    async def connect(self, url: str, number: int) -> None:
        transport, _ = await ws_connect(lambda: _PicowsListener(self), url, read_buffer_init_size=_READ_BUFFER)
        self._transports.append(transport)

    def __len__(self) -> int:
        return len(self._transports)


# Nothing but websockets


class _WebSocketsServer(Server):
    def __init__(self) -> None:
        self._connections: set[ServerConnection] = set()

    async def serve(self) -> str:
        self._server = await serve(self._handle, "127.0.0.1", 0, **_OPTIONS)
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    def tell(self) -> None:
        broadcast(self._connections, _WORD)

    async def _handle(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        with contextlib.suppress(ConnectionClosed):
            async for _ in connection:
                pass


class _WebSocketsClients(Clients):
    def __init__(self) -> None:
        super().__init__()
        self._connections: list[ClientConnection] = []
        self._readers: list[asyncio.Task[None]] = []

    async def connect(self, url: str, number: int) -> None:
        connection = await connect(url, **_OPTIONS)
        self._connections.append(connection)
        self._readers.append(asyncio.create_task(self._read(connection)))

    def __len__(self) -> int:
        return len(self._connections)

    async def _read(self, connection: ClientConnection) -> None:
        async for _ in connection:
            self.told()


STACKS: Final = ("refusion on picows", "refusion on websockets", "picows", "websockets")


def create_server(name: str) -> Server:
    match name.split():
        case ["refusion", _, transport]:
            return _FusionServer(transport)
        case ["picows"]:
            return _PicowsServer()
        case _:
            return _WebSocketsServer()


def create_clients(name: str) -> Clients:
    match name.split():
        case ["refusion", _, transport]:
            return _FusionClients(transport)
        case ["picows"]:
            return _PicowsClients()
        case _:
            return _WebSocketsClients()


def allowed_connections() -> int:
    """Return how many connections a process may have, after asking for as many as it can get."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard - _FILES_FOR_ITSELF


async def memory() -> int:
    """Return the bytes of memory that are this process's: its share of what it has in common with others."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup")
    if rollup.exists():
        line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def run_server(name: str) -> None:
    server = create_server(name)

    async def tell() -> float:
        at = time.monotonic()
        server.tell()
        return at

    await obey(await server.serve(), {"memory": memory, "tell": tell})


async def run_clients(name: str, url: str) -> None:
    clients = create_clients(name)

    async def connect(count: int) -> None:
        while len(clients) < count:
            numbers = range(len(clients), min(len(clients) + _AT_ONCE, count))
            await asyncio.gather(*[clients.connect(url, number) for number in numbers])

    commands = {"subscribe": clients.subscribe, "wait_told": clients.wait_told}
    await obey(None, {"memory": memory, "connect": connect, **commands})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._connections")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("name", choices=STACKS)
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    pin(options.core)
    allowed_connections()
    run = run_server(options.name) if options.role == "server" else run_clients(options.name, options.url)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run)


if __name__ == "__main__":
    main()
