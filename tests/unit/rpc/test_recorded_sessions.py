"""Recorded sessions between the reference's TypeScript client and server, played again with each side being ours.

What the side under test says is compared with what the recorded one has said: method, id and values of each message on
each connection, in order as far as messages are about the same call or stream. These differences are allowed, all of
them because the recorded side is TypeScript and ours does as .NET does, or
because the protocol leaves it open:

- ids of hubs and peers are ours; a server names its peer as the host of a stream, where TypeScript names its hub;
- a method without a result is answered by `{}` in JSON, where TypeScript writes nothing at all;
- errors have .NET's types and texts, where TypeScript has one type and the name of the JavaScript error in the text;
- items of a stream may travel in batches, and a stream's reference has all of its fields;
- a consumer says how far it is at its own pace;
- a regular call that was answered into an outage is forgotten, where TypeScript keeps its answer;
- a stream that goes by the clock may be an item further, or less far, when the link breaks;
- streams survive an outage, where a TypeScript server drops them;
- a call that was given up during an outage is cancelled after it, where TypeScript says nothing;
- a client keeps replicas over an outage, where TypeScript drops them: here the client under test is made to drop them,
  too. A server of ours keeps its peer by the client's id, so a client that is to be a stranger comes with another id.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from refusion import FusionHub
from refusion._base._retries import RetryDelays
from refusion.rpc import RpcClientPeer, RpcLimits, RpcRemoteError, RpcStream, RpcStreamLost, rpc_service
from refusion.rpc.protocol import MethodNames, RpcMessage, ids_to_bytes
from refusion.rpc.protocol._system_calls import CANCEL, OK
from refusion.rpc.transports import ConnectionRequest, Receiver, Transport, TransportLimits
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle
from tests.interop.contracts import BasicApi, CounterApi
from tests.interop.services import BasicService, CounterService

from .recorded import (
    CLIENT,
    DISCONNECT,
    ITEM,
    SERVER,
    Happening,
    Session,
    Transcript,
    arguments_of,
    session_names,
)

KEEP_ALIVE_PERIOD = 0.7
"""As the recorded sides had it, in seconds."""

REMOTE_EXCEPTION = "ActualLab.Serialization.RemoteException: "

# What is what in the sessions with an outage in which the server has kept its peer.
FAILED_CALL, UNKNOWN_CALL = 8, 9
STREAM_CALL, SUM_CALL, CUT_STREAM_CALL, OUTAGE_STREAM_CALL = 10, 11, 12, 14
FINISHED_IN_OUTAGE, RECONNECT_CALL = 16, 17
STREAM_IN_OUTAGE = 3

STREAM_CALLS = {f"ITypeScriptTestComputeService.{name}" for name in ("StreamInt32:1", "SlowStream:1", "SumStream:2")}


@rpc_service(name="INope")
class NopeApi:
    async def missing(self) -> None:
        raise NotImplementedError


def all_names(hub: FusionHub) -> MethodNames:
    """Return the names that occur in the sessions; a hub that serves doesn't know all of them."""
    names = MethodNames()
    for contract in (BasicApi, CounterApi, NopeApi):
        for name in hub.table.define(contract).methods:
            names.add(name)
    return names


@pytest.fixture(params=session_names())
def session(request: pytest.FixtureRequest) -> Session:
    return Session(request.param)


class Ear(Receiver):
    """Takes down what the side under test says on one connection, and says what the recorded side has said."""

    max_frame_bytes = 1 << 24

    def __init__(self, connection: int, transcript: Transcript) -> None:
        self.is_text = transcript.format.is_text
        self.is_open = False
        self._connection = connection
        self._transcript = transcript
        self._transport: Transport | None = None

    def say(self, frame: bytes) -> None:
        if self._transport is not None and self.is_open:
            self._transport.send(frame)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def connected(self, transport: Transport) -> None:
        self._transport = transport
        self.is_open = True

    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        assert is_text == self.is_text
        self._transcript.add(self._connection, frame)

    def writable(self) -> None:
        pass

    def disconnected(self, code: int, reason: str) -> None:
        self.is_open = False


# Our server, the recorded client


async def play_client(session: Session, clock: VirtualClock) -> Transcript:
    """Let the recorded client say its part to a server of ours; returns what that has said."""
    network = MemoryNetwork()
    async with FusionHub(transport=network, limits=RpcLimits(keep_alive_period=KEEP_ALIVE_PERIOD)) as hub:
        hub.add_service(BasicApi, BasicService())
        hub.add_service(CounterApi, CounterService())
        await hub.serve("memory", 1)
        names = all_names(hub)
        ids = {**session.ids, hub.id: SERVER}
        answers = Transcript(session.format, names, ids)
        ear = Ear(0, answers)
        start = clock.now()
        for event in session.events:
            await clock.advance(start + event.at - clock.now())
            if event.what is Happening.CONNECT:
                ear = Ear(event.connection, answers)
                client_id = "recorded" if session.is_same_peer else f"recorded-{event.connection}"
                url = f"ws://memory:1/rpc/ws?clientId={client_id}&f={session.format.key}"
                await network.connect(url, ear, TransportLimits())
                ids.update((peer.id, SERVER) for peer in hub.server_peers)
            elif event.what is Happening.CLIENT_CLOSES:
                ear.close()
            elif event.what is Happening.CLIENT_SAYS:
                ear.say(session.with_ids(event.frame, {SERVER: hub.server_peers[-1].id}))
        await settle()
    return answers


async def test_our_server_answers_a_recorded_client(session: Session, clock: VirtualClock) -> None:
    ours = await play_client(session, clock)
    recorded = session.transcript(Happening.SERVER_SAYS, ours.names)
    first, second = dict(recorded.on(1)), dict(recorded.on(2))
    our_first, our_second = dict(ours.on(1)), dict(ours.on(2))
    if session.is_same_peer:
        # Its answer fell into the outage, so it isn't known any more; TypeScript sends the answer again.
        del second["answered", FINISHED_IN_OUTAGE]
        data = session.format.result(bytes).encode((ids_to_bytes([FINISHED_IN_OUTAGE]),))
        second["answered", RECONNECT_CALL] = [(OK, arguments_of(session.format, data))]
        # The stream goes on, where TypeScript says that it is gone.
        second["link", 0].remove((DISCONNECT, [[STREAM_IN_OUTAGE]]))
        sent, recorded_sent = our_first.pop(("shared", STREAM_IN_OUTAGE)), first.pop(("shared", STREAM_IN_OUTAGE))
        assert sent[: len(recorded_sent)] == recorded_sent[: len(sent)]
        assert abs(len(sent) - len(recorded_sent)) <= 1
        resumed = our_second.pop(("shared", STREAM_IN_OUTAGE))
        ((_, (start, _)),) = session.transcript(Happening.CLIENT_SAYS, ours.names).on(2)["consumed", STREAM_IN_OUTAGE]
        assert resumed[:10] == [(ITEM, [index, index]) for index in range(start, start + 10)]

    given_up = {topic for topic, said in our_second.items() if said == [(CANCEL, [])]}
    assert given_up <= our_first.keys()
    assert our_first == first
    assert {topic: said for topic, said in our_second.items() if topic not in given_up} == second


# Our client, the recorded server


class Caller:
    """Makes the calls of a recorded client with one of ours, under the same ids."""

    def __init__(self, session: Session, hub: FusionHub, peer: RpcClientPeer) -> None:
        self._session = session
        self._methods: dict[str, tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self.counters = hub.client(CounterApi, peer)
        clients = {BasicApi: hub.client(BasicApi, peer), CounterApi: self.counters, NopeApi: hub.client(NopeApi, peer)}
        for contract, client in clients.items():
            for name, method in hub.table.define(contract).methods.items():
                self._methods[name] = (getattr(client, method.name), method.argument_types)

    async def follow(self, message: RpcMessage) -> None:
        """Do what has made the recorded client send a message, unless it has done so by itself."""
        if message.method == CANCEL:
            self._calls[message.related_id].cancel()
        elif message.method in self._methods and message.related_id not in self._calls:
            method, types = self._methods[message.method]
            if message.method in STREAM_CALLS:
                call = self._stream_call(message.related_id, method)
            else:
                call = method(*self._session.format.arguments(types).decode(message.args))
            future = asyncio.ensure_future(call)
            if message.related_id:
                self._calls[message.related_id] = future
        await settle()

    async def outcome(self, call_id: int) -> Any:
        return await self._calls[call_id]

    async def _stream_call(self, call_id: int, method: Callable[..., Awaitable[Any]]) -> Any:
        if call_id == SUM_CALL:
            return await method(RpcStream(one_to_five()))
        items = []
        async for item in await method(100 if call_id == STREAM_CALL else 1000):
            items.append(item)
            if call_id == CUT_STREAM_CALL and len(items) == 3:
                break
        return items


async def one_to_five() -> AsyncIterator[int]:
    for number in range(1, 6):
        yield number


async def play_server(session: Session, clock: VirtualClock, check: Callable[[Caller], Awaitable[None]]) -> Transcript:
    """Let the recorded server say its part to a client of ours; returns what that has said."""
    network = MemoryNetwork()
    limits = RpcLimits(keep_alive_period=KEEP_ALIVE_PERIOD, reconnect_delays=RetryDelays(1e6, 1e6))
    async with FusionHub(transport=network, format=session.format.key, limits=limits) as hub:
        names = all_names(hub)
        ids = {**session.ids, hub.id: CLIENT}
        questions = Transcript(session.format, names, ids)
        ears: list[Ear] = []

        def accept(request: ConnectionRequest) -> Ear:
            ears.append(Ear(len(ears) + 1, questions))
            return ears[-1]

        server = await network.listen("memory", 1, accept, TransportLimits())
        peer = hub.peer(server.url)
        ids[peer.id] = CLIENT
        caller = Caller(session, hub, peer)
        start = clock.now()
        for event in session.events:
            await clock.advance(start + event.at - clock.now())
            if event.what is Happening.CONNECT:
                peer.reconnect()
                await settle()
            elif event.what is Happening.CLIENT_SAYS:
                await caller.follow(session.message(event, names))
            elif event.what is Happening.SERVER_SAYS:
                ears[-1].say(session.with_ids(event.frame, {CLIENT: peer.id}))
            elif event.what is Happening.CLIENT_CLOSES and event is not session.last_close:
                peer.disconnect()
                replica = caller.counters.get_counter.existing("k")
                if replica is not None and session.is_same_peer:
                    # As the recorded client does it; ours would have asked about it.
                    replica.invalidate(immediately=True)
                await settle()
        await settle()
        await check(caller)
    return questions


async def test_our_client_talks_with_a_recorded_server(session: Session, clock: VirtualClock) -> None:
    async def check(caller: Caller) -> None:
        for key, call_id in session.result_ids.items():
            assert await caller.outcome(call_id) == session.results[key]
        if not session.is_same_peer:
            return
        for key, call_id in (("error", FAILED_CALL), ("unknownMethod", UNKNOWN_CALL)):
            with pytest.raises(RpcRemoteError) as caught:
                await caller.outcome(call_id)
            assert str(caught.value) == session.results[key].removeprefix(REMOTE_EXCEPTION)
        assert await caller.outcome(STREAM_CALL) == list(range(100))
        assert await caller.outcome(CUT_STREAM_CALL) == [0, 1, 2]
        with pytest.raises(RpcStreamLost):
            await caller.outcome(OUTAGE_STREAM_CALL)

    ours = await play_server(session, clock, check)
    recorded = session.transcript(Happening.CLIENT_SAYS, ours.names)
    first, second = dict(recorded.on(1)), dict(recorded.on(2))
    our_first, our_second = dict(ours.on(1)), dict(ours.on(2))
    if session.is_same_peer:
        # A stream whose host isn't the peer isn't asked for again.
        del second["consumed", STREAM_IN_OUTAGE]
        our_second.pop(("consumed", STREAM_IN_OUTAGE), None)

    given_up = {topic for topic, said in our_second.items() if said == [(CANCEL, [])]}
    assert given_up <= our_first.keys()
    assert our_first == first
    assert {topic: said for topic, said in our_second.items() if topic not in given_up} == second
