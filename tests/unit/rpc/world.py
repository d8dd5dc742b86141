"""A server and a client on a network inside of the process, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from refusion.rpc import RpcClientPeer, RpcHub, RpcLimits, RpcServerPeer
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import Handshake, MethodNames, RpcMessage
from refusion.rpc.protocol._system_calls import HANDSHAKE
from refusion.rpc.transports import Receiver, Server, Transport, TransportLimits
from refusion.rpc.transports.memory import Direction, Fault, MemoryNetwork
from refusion.testing import VirtualClock, settle


class Worker:
    """The contract of most tests."""

    async def add(self, a: int, b: int = 10) -> int:
        raise NotImplementedError

    async def fail(self, text: str) -> None:
        raise NotImplementedError

    async def wait(self, key: str) -> str:
        raise NotImplementedError

    async def size(self, data: bytes) -> int:
        raise NotImplementedError

    async def zeros(self, count: int) -> bytes:
        raise NotImplementedError


class WorkerService(Worker):
    """Runs until it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.cancelled: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def let_go(self, key: str) -> None:
        self.gates.setdefault(key, asyncio.Event()).set()

    async def add(self, a: int, b: int = 10) -> int:
        self.log.append(f"add({a}, {b})")
        return a + b

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def wait(self, key: str) -> str:
        self.log.append(f"wait({key})")
        try:
            await self.gates.setdefault(key, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        return f"{key} done"

    async def size(self, data: bytes) -> int:
        return len(data)

    async def zeros(self, count: int) -> bytes:
        return bytes(count)


class World:
    """A hub that serves a `Worker`, and another one that calls it."""

    def __init__(self, clock: VirtualClock, *, format: str = "msgpack6c", limits: RpcLimits | None = None) -> None:
        self.clock = clock
        self.format = format
        self.limits = limits or RpcLimits(drain_timeout=0.0)
        self.network = MemoryNetwork()
        self.service = WorkerService()
        self.log: list[str] = self.service.log
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        await self.start_server()
        self.client = await self.open_hub()
        self.peer: RpcClientPeer = self.client.peer(self.url)
        self.worker = self.client.client(Worker, self.peer)
        return self

    async def __aexit__(self, *error: object) -> None:
        # Nothing stands in the way of an orderly end.
        self.network.fault = lambda direction, frame: None
        closing = asyncio.ensure_future(self._stack.aclose())
        await settle()
        while not closing.done():
            # Somebody waits for a limit of time.
            await self.clock.advance(1)
        await closing

    @property
    def url(self) -> str:
        return self.listener.url

    @property
    def server_peer(self) -> RpcServerPeer:
        (peer,) = self.server.server_peers
        return peer

    async def open_hub(self) -> RpcHub:
        hub = RpcHub(transport=self.network, format=self.format, limits=self.limits)
        return await self._stack.enter_async_context(hub)

    async def start_server(self, port: int = 0) -> None:
        self.server = await self.open_hub()
        self.server.add_service(Worker, self.service)
        self.listener: Server = await self.server.serve(port=port)

    async def crash_server(self) -> None:
        """Take the server from the network without a word; its handlers go on, for nobody."""
        self.network.stop(self.listener.port)
        await settle()

    async def restart_server(self) -> None:
        """Put a new server, which knows nothing, in the place of one that has crashed."""
        port = self.listener.port
        await self.crash_server()
        await self.start_server(port)

    async def cut(self) -> None:
        """Break the connection; the client connects again with the next second."""
        self.network.cut()
        await settle()

    def start(self, call: Awaitable[Any]) -> asyncio.Task[Any]:
        """Make a call in the background; what it comes to may be left unseen."""
        task = asyncio.ensure_future(call)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return task

    def fault_once(self, direction: Direction, fault: Fault, *, skip: int = 0) -> None:
        """Let a fault happen to one frame in a direction, after `skip` others."""
        left = skip

        def decide(way: Direction, frame: bytes) -> Fault | None:
            nonlocal left
            if way is not direction:
                return None
            left -= 1
            return fault if left == -1 else None

        self.network.fault = decide


class RawPeer(Receiver):
    """The other side of a hub, that says exactly what a test wants it to say."""

    def __init__(self, format: str = "msgpack6") -> None:
        self.format = get_format(format)
        self.is_text = self.format.is_text
        self.max_frame_bytes = 1 << 24
        self.names = MethodNames()
        self.received: list[RpcMessage] = []
        self.closed: tuple[int, str] | None = None
        self.transport: Transport | None = None
        self.on_message: Callable[[RpcMessage], None] = lambda message: None

    @classmethod
    async def connect(
        cls, world: World, *, format: str = "msgpack6", client_id: str = "raw", key: str = ""
    ) -> "RawPeer":
        peer = cls(format)
        url = f"{world.url}?clientId={client_id}&f={key or format}"
        await world.network.connect(url, peer, TransportLimits())
        return peer

    @property
    def methods(self) -> list[str]:
        """The wire names of what was received, without handshakes."""
        return [message.method for message in self.received if message.method != HANDSHAKE]

    @property
    def handshake(self) -> Handshake:
        """What the hub has introduced itself with."""
        (args,) = [message.args for message in self.received if message.method == HANDSHAKE]
        return self.format.decode_handshake(args)

    def frame(self, *messages: RpcMessage) -> bytes:
        buffer = bytearray()
        for message in messages:
            self.format.write(buffer, message)
        return bytes(buffer)

    async def send(self, *messages: RpcMessage) -> None:
        await self.send_frame(self.frame(*messages))

    async def send_frame(self, frame: bytes) -> None:
        assert self.transport is not None
        self.transport.send(frame)
        await settle()

    async def introduce(self, peer_id: str = "raw-peer", index: int = 1) -> None:
        args = self.format.encode_handshake(Handshake(peer_id, "raw-hub", index))
        await self.send(RpcMessage(HANDSHAKE, 0, 0, args))

    def arguments(self, *values: Any) -> bytes:
        return self.format.arguments(tuple(type(value) for value in values)).encode(values)

    def error_text(self, message: RpcMessage) -> str:
        return self.format.decode_error(message.args).message

    # Receiver

    def connected(self, transport: Transport) -> None:
        self.transport = transport

    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        for message in self.format.read(frame, self.names).messages:
            self.received.append(message)
            self.on_message(message)

    def writable(self) -> None:
        pass

    def disconnected(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
