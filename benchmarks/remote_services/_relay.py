"""A network that is far away, and counts: a relay on loopback."""

import asyncio

__all__ = ["Relay"]


class Relay:
    """Relays connections to a local port."""

    def __init__(self, port: int, delay: float) -> None:
        """Make a relay in which each byte waits so many seconds, in each direction."""
        self._target = port
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sizes = [0, 0]
        """How many bytes were relayed to the server, and to the clients."""

    async def listen(self) -> int:
        """Start, and return the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for way, source, sink in ((0, reader, inner_writer), (1, inner_reader, writer)):
            task = asyncio.create_task(self._relay(way, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, way: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(65_536):
            self.sizes[way] += len(data)
            loop.call_later(self._delay, sink.write, data)
        loop.call_later(self._delay, sink.close)
