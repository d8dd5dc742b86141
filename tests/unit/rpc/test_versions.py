"""Versions of the API in handshakes, and the old names that old clients use."""

import pytest

from refusion.rpc import RpcChannel, RpcContractError, RpcHub, VersionSet, rpc_method, rpc_service
from refusion.rpc._errors import RpcProtocolError
from refusion.rpc.protocol import Handshake, RpcMessage, parse_version
from refusion.rpc.protocol._system_calls import ERROR, HANDSHAKE, OK
from refusion.testing import settle

from .world import RawPeer, World


@rpc_service(name="IGreeter", legacy_names={"IOldGreeter": "1.5"})
class Greeter:
    @rpc_method(legacy_names={"Hello": "1.0", "SayHello": "2.0"})
    async def greet(self, name: str) -> str:
        raise NotImplementedError


class GreeterService(Greeter):
    async def greet(self, name: str) -> str:
        return f"Hello, {name}!"


NAMES = {
    "IGreeter.Greet:2",
    "IGreeter.Hello:2",
    "IGreeter.SayHello:2",
    "IOldGreeter.Greet:2",
    "IOldGreeter.Hello:2",
    "IOldGreeter.SayHello:2",
}


@pytest.mark.parametrize("format", ["msgpack6", "msgpack6c", "json5np"])
@pytest.mark.parametrize(
    ("versions", "old"),
    [
        (None, "IOldGreeter.Hello:2"),
        ("Api=1.0", "IOldGreeter.Hello:2"),
        ("Api=1", "IOldGreeter.Hello:2"),
        ("Api=1.1", "IOldGreeter.SayHello:2"),
        ("Api=1.5,Other=9", "IOldGreeter.SayHello:2"),
        ("Api=1.10", "IGreeter.SayHello:2"),
        ("Api=2.0", "IGreeter.SayHello:2"),
        ("Api=2.0.1", None),
        ("Api=3", None),
        ("Other=3", "IOldGreeter.Hello:2"),
    ],
)
async def test_a_client_reaches_a_method_by_the_name_of_its_version_and_by_the_current_one(
    world: World, format: str, versions: str | None, old: str | None
) -> None:
    world.server.add_service(Greeter, GreeterService())
    raw = await RawPeer.connect(world, format=format)
    args = raw.format.encode_handshake(Handshake("raw-peer", "raw-hub", 1, api_versions=versions))
    await raw.send(RpcMessage(HANDSHAKE, 0, 0, args))
    for call_id, name in enumerate(sorted(NAMES), 1):
        await raw.send(RpcMessage(name, call_id, 0, raw.arguments("Ann")))

    answered = {name for call_id, name in enumerate(sorted(NAMES), 1) if answer(raw, call_id) == OK}
    assert answered == {"IGreeter.Greet:2"} | ({old} if old else set())
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    assert peer.remote_versions == VersionSet(versions)


async def test_the_names_of_its_version_hold_from_the_frame_on_that_introduces_the_client(world: World) -> None:
    world.server.add_service(Greeter, GreeterService())
    raw = await RawPeer.connect(world)
    args = raw.format.encode_handshake(Handshake("raw-peer", "raw-hub", 1, api_versions="Api=1.0"))
    await raw.send(RpcMessage(HANDSHAKE, 0, 0, args), RpcMessage("IOldGreeter.Hello:2", 1, 0, raw.arguments("Ann")))
    assert raw.methods == [OK]


async def test_peers_that_use_the_same_old_names_share_a_table_that_is_kept_up_to_date(world: World) -> None:
    table = world.server.table
    world.server.add_service(Greeter, GreeterService())
    raw = await RawPeer.connect(world)
    args = raw.format.encode_handshake(Handshake("raw-peer", "raw-hub", 1, api_versions="Api=1.0"))
    await raw.send(RpcMessage(HANDSHAKE, 0, 0, args))
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]

    assert type(peer.handlers) is dict
    assert peer.handlers is table.handlers_for(VersionSet("Api=0.9"))
    assert peer.handlers is not table.handlers_for(VersionSet("Api=1.7"))
    assert table.handlers_for(VersionSet("Api=3")) is table.handlers

    class Late:
        async def come(self) -> int:
            raise NotImplementedError

    class LateService(Late):
        async def come(self) -> int:
            return 5

    world.server.add_service(Late, LateService())
    channel = RpcChannel(world.server, "notes")
    assert set(peer.handlers) == {*table.handlers, "IOldGreeter.Hello:2"}
    await raw.send(RpcMessage("Late.Come:1", 9, 0, b""))
    assert answer(raw, 9) == OK
    channel.close()
    assert set(peer.handlers) == {*table.handlers, "IOldGreeter.Hello:2"}


def answer(raw: RawPeer, call_id: int) -> str:
    (method,) = [message.method for message in raw.received if message.related_id == call_id]
    assert method in (OK, ERROR)
    return method


async def test_both_sides_say_which_version_they_speak(world: World) -> None:
    hub = RpcHub(transport=world.network, versions="Api=2.5,Backend=1")
    async with hub:
        peer = hub.peer(world.url)
        await peer.wait_connected()
        await settle()
        assert peer.remote_versions == {"Api": (1,)}
        (server_side,) = [side for side in world.server.server_peers if side.client_id == peer.client_id]
        assert server_side.remote_versions["Api"] == (2, 5)
        assert server_side.remote_versions["Backend"] == (1,)
        assert server_side.remote_versions["Unheard"] == ()


@pytest.mark.parametrize(
    "text",
    ["Api", "=1.0", "Api=", "Api=1.x", "Api=-1", "Api=1.2.3.4.5", "Api=٣", "x" * 513, ",".join(["A=1"] * 17), "Api=1,"],
)
async def test_a_version_set_that_cant_be_read_ends_the_connection(world: World, text: str) -> None:
    with pytest.raises(RpcProtocolError, match="version set"):
        VersionSet(text)
    raw = await RawPeer.connect(world)
    await raw.send(RpcMessage(HANDSHAKE, 0, 0, raw.format.encode_handshake(Handshake("p", "h", 1, 2, text))))
    assert raw.closed is not None
    assert raw.closed[0] == 1002


def test_a_hub_refuses_versions_that_nobody_could_read() -> None:
    with pytest.raises(RpcProtocolError, match="version set"):
        RpcHub(versions="one")


def test_versions_compare_by_their_numbers() -> None:
    assert parse_version("1.10") > parse_version("1.9")
    assert parse_version("1.0.0") == parse_version("1")
    assert parse_version("0") == ()
    assert repr(VersionSet("Api=1.0,B=0")) == "VersionSet('Api=1,B=0')"


def test_an_old_name_has_a_version() -> None:
    with pytest.raises(ValueError, match="isn't a version"):
        rpc_method(legacy_names={"Old": "old"})
    with pytest.raises(ValueError, match="isn't a version"):
        rpc_service(legacy_names={"Old": ""})


def test_two_methods_cant_have_had_one_name() -> None:
    class Twins:
        @rpc_method(legacy_names={"Old": "1"})
        async def one(self) -> None:
            raise NotImplementedError

        @rpc_method(legacy_names={"Old": "2"})
        async def other(self) -> None:
            raise NotImplementedError

    class TwinService(Twins):
        async def one(self) -> None:
            pass

        async def other(self) -> None:
            pass

    with pytest.raises(RpcContractError, match=r"is or was called 'Twins.Old:1', too"):
        RpcHub().add_service(Twins, TwinService())


def test_a_service_may_have_old_names_and_that_of_its_class() -> None:
    @rpc_service(legacy_names={"Ancient": "1"})
    class Modern:
        async def work(self) -> None:
            raise NotImplementedError

    class ModernService(Modern):
        async def work(self) -> None:
            pass

    hub = RpcHub()
    hub.add_service(Modern, ModernService())
    assert [service.name for service in hub.services] == ["Modern"]
