"""Formats of one's own, and the page about formats: its snippets run, and the format in it works."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError, RpcProtocolError
from refusion.rpc.formats import RpcFormat, WireValue, format_keys, get_format, register_format
from refusion.rpc.protocol import ExceptionInfo, Handshake, MethodNames, RpcMessage
from refusion.rpc.protocol._limits import SizeLimits
from refusion.testing import VirtualClock

from .world import World

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


def run_page() -> ModuleType:
    """Run the Python blocks of the page, one after another, as one module."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    module = ModuleType("formats_page")
    sys.modules[module.__name__] = module
    exec(compile("\n\n".join(blocks), str(PAGE), "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def page() -> Any:
    # Names of types and formats are given once per process.
    return sys.modules.get("formats_page") or run_page()


def test_the_snippets_of_the_page_run(page: Any) -> None:
    assert "json-lines" in format_keys()
    assert isinstance(get_format("json-lines"), page.JsonLines)


def test_the_page_names_every_format(page: Any) -> None:
    text = PAGE.read_text()
    assert [key for key in format_keys() if f"`{key}`" not in text and key != "json-lines"] == []


async def test_hubs_speak_a_format_of_ones_own(page: Any, clock: VirtualClock) -> None:
    async with World(clock, format="json-lines") as world:
        await world.peer.wait_connected()
        assert await world.worker.add(1) == 11
        assert await world.worker.size(b"abc") == 3
        with pytest.raises(ValueError, match="no"):
            await world.worker.fail("no")
        running = world.start(world.worker.wait("a"))
        await clock.advance(30)
        world.service.let_go("a")
        assert await running == "a done"
        assert world.peer.is_connected


@given(st.binary(max_size=100))
def test_what_the_format_of_the_page_reads_is_never_a_surprise(data: bytes) -> None:
    page: Any = sys.modules.get("formats_page") or run_page()
    format_: RpcFormat = page.JsonLines()
    for content in (data, b'["A",1,0,[],' + data + b"]"):
        for message in format_.read(content, MethodNames()).messages:
            try:
                format_.arguments((int,)).decode(message.args)
            except RpcArgumentError:
                continue
        for decode in (format_.decode_handshake, format_.decode_error):
            try:
                decode(content)
            except RpcProtocolError:
                continue


def test_a_format_gets_handshakes_errors_and_streams_from_its_codec(page: Any) -> None:
    format_: RpcFormat = page.JsonLines()
    handshake = Handshake("p", "h", 7, 2, "Api=1.0", "secret")
    assert format_.decode_handshake(format_.encode_handshake(handshake)) == handshake
    info = ExceptionInfo("System.TimeoutException, System.Private.CoreLib", "late")
    assert format_.decode_error(format_.encode_error(info)) == info
    assert format_.item(str).decode(format_.item(str).encode((3, "x"))) == (3, "x")
    assert format_.batch(str).decode(format_.batch(str).encode((3, ["x", "y"]))) == (3, ["x", "y"])
    assert format_.result(type(None)).decode(format_.result(type(None)).encode((None,))) == (None,)
    assert format_.frame_encoder(is_server=True) is None
    assert format_.frame_decoder(is_server=True) is None
    with pytest.raises(RpcProtocolError, match="malformed handshake: "):
        format_.decode_handshake(b"[5]")


@pytest.mark.parametrize("key", ["msgpack6c", "json5", "msgpack6c-lz4", "json-lines"])
def test_a_key_is_given_once(page: Any, key: str) -> None:
    class Copy(page.JsonLines):  # type: ignore[misc,name-defined]
        pass

    Copy.key = key
    with pytest.raises(ValueError, match=f"there is a format '{key}' already"):
        register_format(Copy())


def test_messages_in_the_format_of_the_page_travel(page: Any) -> None:
    format_: RpcFormat = page.JsonLines()
    buffer = bytearray()
    sent = [RpcMessage("S.M:0", 1, 1, b"[1]", (("#", "x"),)), RpcMessage("S.N:0", 2, 0, b"[]")]
    for message in sent:
        format_.write(buffer, message)
    assert format_.read(bytes(buffer) + b"nonsense\n", MethodNames()).messages == sent


class Unwritable(WireValue):
    def to_wire(self, *, is_text: bool) -> Any:
        raise KeyError("nothing stands for it")

    @classmethod
    def from_wire(cls, declared: Any, value: Any, *, is_text: bool) -> "Unwritable":
        return cls()


class Box:
    async def put(self, number: int, value: Unwritable) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("format_", ["msgpack6", "json5"])
async def test_a_value_that_raises_when_it_is_written_fails_its_call_and_nothing_is_left_of_it(
    clock: VirtualClock, format_: str
) -> None:
    async with World(clock, format=format_) as world:
        box = world.client.client(Box, world.peer)
        for is_connected in (False, True):
            if is_connected:
                await world.peer.wait_connected()
            with pytest.raises(RpcArgumentError, match=r"argument 1: .*nothing stands for it"):
                await box.put(1, Unwritable())
            assert len(world.peer.outbound) == 0
        assert await world.worker.add(1, 2) == 3


async def test_a_call_that_a_format_fails_to_write_is_over_and_the_next_ones_go_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.peer.wait_connected()
    link = world.peer.link
    assert link is not None
    write = link._write

    def fail(buffer: bytearray, message: RpcMessage, sizes: SizeLimits) -> None:
        if message.related_id == 1:
            raise KeyError("a bug")
        write(buffer, message, sizes)

    monkeypatch.setattr(link, "_write", fail)
    with pytest.raises(RpcArgumentError, match=r"Worker.add can't be sent: KeyError\('a bug'\)"):
        await world.worker.add(1, 2)
    assert len(world.peer.outbound) == 0
    assert await world.worker.add(1, 2) == 3
