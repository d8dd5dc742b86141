"""What every transport has to do; each one joins with a line in `NETWORKS`."""

import asyncio
import gc
import socket
import ssl
import struct
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any

import pytest
import trustme
import uvicorn
import uvloop

from refusion.rpc import RpcConnectError, RpcHub
from refusion.rpc.transports import (
    CLOSE_UNSUPPORTED_FORMAT,
    ConnectionRequest,
    Network,
    Receiver,
    Rejection,
    Transport,
    TransportLimits,
    get_network,
)
from refusion.rpc.transports._dialing import Dialing
from refusion.rpc.transports.asgi import RpcEndpoint
from refusion.rpc.transports.memory import Direction, Fault, MemoryNetwork
from refusion.testing import VirtualClock, settle
from samples.tcp_transport import TcpNetwork

LIMITS = TransportLimits(high_water=64 * 1024, low_water=16 * 1024, connect_timeout=5, close_timeout=2)
GUARD = 20


class Recorder(Receiver):
    """Notes what it is told, and answers as a test wants."""

    def __init__(self, on_frame: "Callable[[Recorder, bytes], None] | None" = None, *, is_text: bool = False) -> None:
        self.max_frame_bytes = 4 * 1024 * 1024
        self.is_text = is_text
        self.transport: Transport | None = None
        self.frames: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.writable_again = asyncio.Event()
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._on_frame = on_frame

    def connected(self, transport: Transport) -> None:
        self.transport = transport
        self.opened.set()

    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        if self._on_frame is not None:
            self._on_frame(self, frame)
        else:
            self.frames.put_nowait((frame, is_text))

    def writable(self) -> None:
        self.writable_again.set()

    def disconnected(self, code: int, reason: str) -> None:
        self.closed.set_result((code, reason))

    @property
    def link(self) -> Transport:
        assert self.transport is not None
        return self.transport


@dataclass
class Stage:
    """A server that accepts as a test wants, and how to connect to it."""

    network: Network
    url: str
    port: int
    servers: list[Recorder]
    close_server: Callable[[], Coroutine[Any, Any, None]]
    outcome: Callable[[ConnectionRequest], Receiver | Rejection]
    requests: list[ConnectionRequest]
    ssl: SSLContext | None = None

    def accept(self, request: ConnectionRequest) -> Receiver | Rejection:
        self.requests.append(request)
        outcome = self.outcome(request)
        if isinstance(outcome, Recorder):
            self.servers.append(outcome)
        return outcome

    async def aclose(self) -> None:
        """Take the part of a hub under uvicorn."""

    async def connect(self, receiver: Recorder | None = None) -> tuple[Recorder, Recorder]:
        client = receiver or Recorder()
        await self.network.connect(f"{self.url}?clientId=me&f=x", client, LIMITS, self.ssl)
        await client.opened.wait()
        while not self.servers:
            await asyncio.sleep(0)
        await self.servers[-1].opened.wait()
        return client, self.servers[-1]


@asynccontextmanager
async def listening(network: Network, stage: Stage, ssl: SSLContext | None = None) -> AsyncIterator[None]:
    server = await network.listen("127.0.0.1", 0, stage.accept, LIMITS, ssl)
    stage.url, stage.port, stage.close_server = server.url, server.port, server.aclose
    try:
        yield
    finally:
        await server.aclose()


@asynccontextmanager
async def under_uvicorn(stage: Stage) -> AsyncIterator[None]:
    config = uvicorn.Config(
        RpcEndpoint(stage, limits=LIMITS),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    stage.port = server.servers[0].sockets[0].getsockname()[1]
    stage.url = f"ws://127.0.0.1:{stage.port}/rpc/ws"

    async def close() -> None:
        server.should_exit = True
        await task

    stage.close_server = close
    try:
        yield
    finally:
        await close()


@cache
def contexts() -> tuple[SSLContext, SSLContext]:
    """Return what a server at 127.0.0.1 shows, and what trusts it."""
    authority = trustme.CA()
    certificate, trust = SSLContext(ssl.PROTOCOL_TLS_SERVER), SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    authority.configure_trust(trust)
    return certificate, trust


NETWORKS = ("memory", "websockets", "picows", "asgi", "tcp", "websockets+tls", "picows+tls", "tcp+tls")


@pytest.fixture(params=NETWORKS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async def nothing() -> None: ...

    name, _, tls = request.param.partition("+")
    network: Network
    match name:
        case "memory":
            network = MemoryNetwork()
        case "tcp":
            network = TcpNetwork()
        case "asgi":
            network = get_network("websockets")
        case _:
            network = get_network(name)
    certificate, trust = contexts() if tls else (None, None)
    stage = Stage(network, "", 0, [], nothing, lambda _: Recorder(), [], trust)
    async with asyncio.timeout(GUARD):
        async with under_uvicorn(stage) if name == "asgi" else listening(network, stage, certificate):
            yield stage


async def test_frames_arrive_whole_in_order_both_ways(stage: Stage) -> None:
    client, server = await stage.connect()
    sizes = [0, 1, 125, 126, 127, 1_000, 65_535, 65_536, 200_000] * 20
    for sender, taker in ((client, server), (server, client)):
        for number, size in enumerate(sizes):
            sender.link.send(struct.pack(">I", number) + b"x" * size)
            if not sender.link.is_writable:
                sender.writable_again.clear()
                await sender.writable_again.wait()
        for number, size in enumerate(sizes):
            frame, is_text = await taker.frames.get()
            assert (struct.unpack(">I", frame[:4])[0], len(frame) - 4, is_text) == (number, size, False)


async def test_text_frames_are_told_from_binary_ones(stage: Stage) -> None:
    stage.outcome = lambda _: Recorder(is_text=True)
    client, server = await stage.connect(Recorder(is_text=True))
    client.link.send("Привет".encode())
    server.link.send(b'{"a":1}')
    assert await server.frames.get() == ("Привет".encode(), True)
    assert await client.frames.get() == (b'{"a":1}', True)


async def test_the_request_tells_path_query_and_headers(stage: Stage) -> None:
    await stage.connect()
    (request,) = stage.requests
    assert request.path == "/rpc/ws"
    assert request.query == {"clientId": "me", "f": "x"}
    assert request.remote == ("memory" if isinstance(stage.network, MemoryNetwork) else "127.0.0.1")


async def test_a_peer_that_stops_reading_stops_its_senders_and_loses_nothing(stage: Stage) -> None:
    client, server = await stage.connect()
    server.link.pause_reading()
    sent = 0
    while client.link.is_writable:
        client.link.send(struct.pack(">I", sent) + b"y" * 16_000)
        sent += 1
        if sent % 10 == 0:
            await asyncio.sleep(0)
        assert sent < 20_000, "the sender is never told to wait"
    client.writable_again.clear()
    server.link.resume_reading()
    await client.writable_again.wait()
    for number in range(sent):
        frame, _ = await server.frames.get()
        assert struct.unpack(">I", frame[:4])[0] == number
        assert frame[4:] == b"y" * 16_000


async def test_what_was_sent_before_a_close_arrives_and_the_code_does_too(stage: Stage) -> None:
    client, server = await stage.connect()
    for number in range(50):
        client.link.send(b"%d" % number)
    client.link.close(4002, "done")
    client.link.close(4003, "again")
    client.link.send(b"too late")
    code, reason = await server.closed
    assert (code, reason) == (4002, "done")
    assert [(await server.frames.get())[0] for _ in range(50)] == [b"%d" % number for number in range(50)]
    assert server.frames.empty()
    await client.closed
    await client.link.wait_closed()


async def test_the_server_may_close_too(stage: Stage) -> None:
    client, server = await stage.connect()
    server.link.close(1000, "bye")
    assert await client.closed == (1000, "bye")
    await server.closed


@pytest.mark.parametrize(
    ("text", "told"),
    [("x" * 123, "x" * 123), ("Ж" * 200, "Ж" * 61), ("x" * 122 + "€", "x" * 122), ("\ud800", "?")],
    ids=["fits", "two bytes each", "between", "no text"],
)
async def test_a_reason_that_is_too_long_is_cut_between_characters(stage: Stage, text: str, told: str) -> None:
    client, server = await stage.connect()
    client.link.close(1002, text)
    assert await server.closed == (1002, told)


async def test_a_refusal_with_a_long_reason_is_told(stage: Stage) -> None:
    stage.outcome = lambda request: Rejection("Ж" * 200, close_code=CLOSE_UNSUPPORTED_FORMAT)
    client = Recorder()
    await stage.network.connect(f"{stage.url}?clientId=me&f=x", client, LIMITS, stage.ssl)
    code, reason = await client.closed
    assert code == CLOSE_UNSUPPORTED_FORMAT
    assert reason == "Ж" * 61


async def test_a_cut_is_noticed_by_both(stage: Stage) -> None:
    client, server = await stage.connect()
    client.link.abort()
    assert (await client.closed)[0] == 1006
    assert (await server.closed)[0] in (1005, 1006)


async def test_a_server_may_cut_too(stage: Stage) -> None:
    client, server = await stage.connect()
    server.link.abort()
    await client.closed
    await server.closed


async def test_a_frame_that_is_larger_than_welcome_closes_with_1009(stage: Stage) -> None:
    client, server = await stage.connect()
    server.max_frame_bytes = 1_000
    client.link.send(b"x" * 1_000)
    client.link.send(b"x" * 5_000)
    assert (await client.closed)[0] == 1009
    await server.closed
    assert len((await server.frames.get())[0]) == 1_000
    assert server.frames.empty()


async def test_a_failing_receiver_loses_its_connection_only(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    if isinstance(stage.network, MemoryNetwork):
        pytest.skip("in memory a failing receiver is a failing test")

    def fail(_: Recorder, __: bytes) -> None:
        raise ValueError("receiver")

    stage.outcome = lambda _: Recorder(fail)
    client, _ = await stage.connect()
    client.link.send(b"x")
    assert (await client.closed)[0] == 1011
    assert "the receiver of a frame failed" in caplog.text
    stage.outcome = lambda _: Recorder()
    stage.servers.clear()
    client, server = await stage.connect()
    client.link.send(b"fine")
    assert (await server.frames.get())[0] == b"fine"


async def test_a_client_can_be_refused_before_the_upgrade(stage: Stage) -> None:
    stage.outcome = lambda _: Rejection("go away", 418)
    with pytest.raises(RpcConnectError, match=f"can't connect to {stage.network.schemes[0]}") as caught:
        await stage.network.connect(f"{stage.url}?p=secret", Recorder(), LIMITS, stage.ssl)
    assert caught.value.status == 418
    assert "secret" not in str(caught.value)


async def test_a_client_can_be_let_in_only_to_be_told_why_not(stage: Stage) -> None:
    stage.outcome = lambda _: Rejection("no such format", close_code=CLOSE_UNSUPPORTED_FORMAT)
    client = Recorder()
    await stage.network.connect(stage.url, client, LIMITS, stage.ssl)
    assert await client.closed == (CLOSE_UNSUPPORTED_FORMAT, "no such format")


async def test_nobody_listening_is_a_connect_error(stage: Stage) -> None:
    await stage.close_server()
    with pytest.raises(RpcConnectError, match="can't connect to"):
        await stage.network.connect(stage.url, Recorder(), LIMITS, stage.ssl)


@pytest.mark.parametrize("name", ["websockets", "picows"])
@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/x", "http://127.0.0.1:1/x", "ws://", "nonsense"])
async def test_an_error_of_a_connection_attempt_tells_nothing_of_its_query(name: str, url: str) -> None:
    with pytest.raises(RpcConnectError) as caught:
        await get_network(name).connect(f"{url}?clientId=me&p=secret", Recorder(), LIMITS)
    assert url in str(caught.value)
    # As in a log; the lines of this file aren't there.
    seen = [line for line in traceback.format_exception(caught.value) if "File" not in line]
    assert not [line for line in seen if "clientId" in line or "secret" in line]


async def test_a_server_that_closes_takes_its_connections_along(stage: Stage) -> None:
    clients = [(await stage.connect())[0] for _ in range(3)]
    await stage.close_server()
    for client in clients:
        await client.closed


async def test_two_hundred_connections_at_once(stage: Stage) -> None:
    stage.outcome = lambda _: Recorder(lambda recorder, frame: recorder.link.send(frame[::-1]))
    clients = [Recorder() for _ in range(200)]
    await asyncio.gather(*[stage.network.connect(stage.url, client, LIMITS, stage.ssl) for client in clients])
    for number, client in enumerate(clients):
        await client.opened.wait()
        client.link.send(b"%03d" % number)
    for number, client in enumerate(clients):
        assert (await client.frames.get())[0] == (b"%03d" % number)[::-1]
        client.link.close()
    for client in clients:
        await client.closed


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 1_000, b"GET / HTTP/1.1\r\n\r\n", b"HELO there\r\n\r\n", b"\xff\xfe" * 4_000]
)
async def test_garbage_on_the_port_kills_nobody(stage: Stage, garbage: bytes) -> None:
    if isinstance(stage.network, MemoryNetwork):
        pytest.skip("there is no port")
    client, server = await stage.connect()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(garbage)
    writer.write_eof()
    await asyncio.gather(reader.read(), return_exceptions=True)
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    client.link.send(b"still here")
    assert (await server.frames.get())[0] == b"still here"


async def test_a_message_of_several_fragments_arrives_as_one_frame(stage: Stage) -> None:
    if isinstance(stage.network, (MemoryNetwork, TcpNetwork)):
        pytest.skip("there are no fragments but in WebSockets")
    from websockets.asyncio.client import connect

    async with connect(stage.url, compression=None, ssl=stage.ssl) as raw:

        async def parts() -> AsyncIterator[bytes]:
            for part in (b"one ", b"two ", b"three"):
                yield part

        await raw.send(parts())
        await raw.send(b"four")
        server = stage.servers[0]
        assert (await server.frames.get())[0] == b"one two three"
        assert (await server.frames.get())[0] == b"four"
        server.max_frame_bytes = 10
        await raw.send(parts())
        await raw.wait_closed()
        assert raw.close_code == 1009


async def test_faults_in_memory_happen_to_the_frame_that_is_named() -> None:
    network = MemoryNetwork()
    servers: list[Recorder] = []

    def accept(_: ConnectionRequest) -> Receiver:
        servers.append(Recorder())
        return servers[-1]

    await network.listen("memory", 1, accept, LIMITS)
    with pytest.raises(OSError, match="in use"):
        await network.listen("memory", 1, accept, LIMITS)
    faults = {b"twice": Fault.DUPLICATE, b"lost": Fault.LOSE, b"last": Fault.DELIVER_AND_CUT}
    network.fault = lambda direction, frame: faults.get(frame) if direction is Direction.TO_SERVER else None
    client = Recorder()
    await network.connect("ws://memory:1", client, LIMITS)
    for frame in (b"twice", b"lost", b"last", b"never"):
        client.link.send(frame)
    assert (await client.closed)[0] == 1006
    assert [servers[0].frames.get_nowait()[0] for _ in range(3)] == [b"twice", b"twice", b"last"]
    network.is_refusing = True
    with pytest.raises(RpcConnectError):
        await network.connect("ws://memory:1", Recorder(), LIMITS)


async def cancel_connect(name: str) -> None:
    """Connect to somebody who says nothing, give up, and see that the other side is told at once."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        connecting = asyncio.create_task(
            get_network(name).connect(f"ws://127.0.0.1:{silent.getsockname()[1]}", Recorder(), LIMITS)
        )
        accepted, _ = await asyncio.to_thread(silent.accept)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        accepted.settimeout(1)
        while await asyncio.to_thread(accepted.recv, 4_096):
            pass
        accepted.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("name", ["websockets", "picows"])
def test_a_cancelled_connect_leaves_no_connection(name: str, run: Callable[[Any], None]) -> None:
    run(cancel_connect(name))


def sockets_to(port: int) -> list[socket.socket]:
    """Return the sockets of this process that go to a port: not the listening one, and none that it has accepted."""
    found: list[socket.socket] = []
    for sock in gc.get_objects():
        if type(sock) is socket.socket and sock.family == socket.AF_INET and sock.fileno() != -1:
            try:
                is_client = sock.getpeername()[1] == port
            except OSError:
                # Not connected yet, or not any more.
                is_client = sock.getsockname()[1] != port
            if is_client:
                found.append(sock)
    return found


@pytest.mark.parametrize("is_encrypted", [False, True])
@pytest.mark.parametrize("name", ["websockets", "picows"])
async def test_a_connect_that_is_cancelled_at_any_moment_leaves_no_socket(name: str, is_encrypted: bool) -> None:
    network = get_network(name)
    certificate, trust = contexts() if is_encrypted else (None, None)
    server = await network.listen("127.0.0.1", 0, lambda request: Recorder(), LIMITS, certificate)
    before = sockets_to(server.port)
    is_connected = False
    turns = 0
    while not is_connected:
        receiver = Recorder()
        connecting = asyncio.create_task(network.connect(server.url, receiver, LIMITS, trust))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        try:
            await connecting
        except asyncio.CancelledError:
            assert [sock for sock in sockets_to(server.port) if sock not in before] == [], turns
            assert receiver.transport is None or receiver.closed.done()
        else:
            is_connected = True
            receiver.link.abort()
            await receiver.closed
        turns += 1
    await server.aclose()
    assert turns > 3


@pytest.mark.parametrize("name", ["websockets", "picows"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b"HTTP/1.1 101 Fine\r\n\r\n"],
    ids=["nothing", "403", "garbage", "half an upgrade"],
)
async def test_a_connect_that_fails_leaves_no_socket(name: str, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = sockets_to(port)
    with pytest.raises(RpcConnectError):
        await get_network(name).connect(f"ws://127.0.0.1:{port}", Recorder(), LIMITS)
    assert [sock for sock in sockets_to(port) if sock not in before] == []
    server.close()
    await server.wait_closed()


async def test_a_socket_that_no_transport_has_taken_is_closed_by_who_has_opened_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(ZeroDivisionError):
            async with Dialing() as dialing:
                sock = await dialing.open(*listener.getsockname())
                raise ZeroDivisionError
        assert sock.fileno() == -1


async def test_a_host_is_looked_up_and_its_addresses_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    network = get_network("picows")
    server = await network.listen("127.0.0.1", 0, lambda request: Recorder(), LIMITS)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()
    addresses = [nobody, ("127.0.0.1", server.port)]

    async def look_up(host: str, port: int, **options: Any) -> Any:
        assert host == "here.test"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    receiver = Recorder()
    await network.connect("ws://here.test/rpc/ws", receiver, LIMITS)
    assert receiver.opened.is_set()
    receiver.link.close()
    await receiver.closed
    await server.aclose()
    with pytest.raises(RpcConnectError, match=str(server.port)):
        await network.connect("ws://here.test/rpc/ws", Recorder(), LIMITS)
    addresses.clear()
    with pytest.raises(RpcConnectError, match=r"here.test has no address"):
        await network.connect("ws://here.test/rpc/ws", Recorder(), LIMITS)


async def test_an_asgi_endpoint_answers_what_is_no_websocket() -> None:
    class Hub(RpcHub):
        closed_after: list[str] | None = None

        async def aclose(self, *, drain_timeout: float | None = None) -> None:
            self.closed_after = [message["type"] for message in sent]
            await super().aclose(drain_timeout=drain_timeout)

    hub = Hub()
    endpoint = RpcEndpoint(hub)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(events)

    await endpoint({"type": "http", "method": "GET", "path": "/rpc/ws"}, receive, send)
    assert sent[0]["status"] == 426
    sent.clear()
    await endpoint({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert hub.closed_after == ["lifespan.startup.complete"]
    with pytest.raises(ValueError, match="type 'smtp'"):
        await endpoint({"type": "smtp"}, receive, send)


def test_an_unknown_transport_is_an_error() -> None:
    with pytest.raises(LookupError, match="no transport named 'pigeon'"):
        get_network("pigeon")


async def test_a_timer_of_a_close_ends_with_the_connection() -> None:
    with VirtualClock() as clock:
        network = get_network("picows")
        servers: list[Recorder] = []

        def accept(_: ConnectionRequest) -> Receiver:
            servers.append(Recorder())
            return servers[-1]

        server = await network.listen("127.0.0.1", 0, accept, LIMITS)
        client = Recorder()
        await network.connect(server.url, client, LIMITS)
        client.link.close()
        await client.closed
        assert clock.pending_timers == 0
        await server.aclose()
        # The loop closes sockets in the turn after.
        await settle()
