"""What docs/channels.md and docs/transports.md show is what runs."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from refusion.rpc import RpcChannel

from .world import World

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in blocks("channels.md"):
        exec(block, names)
    return names


async def test_the_channel_of_the_page_answers(world: World, names: dict[str, Any]) -> None:
    serving = world.start(names["serve"](world.server))
    assert await names["ask"](world.client, world.url) == b"got hello"
    await world.server.aclose()
    await serving


async def test_the_other_pieces_of_the_page_do_what_it_says(world: World, names: dict[str, Any]) -> None:
    ours = RpcChannel(world.client, "telemetry")
    theirs = RpcChannel(world.server, "telemetry")
    seen: list[bytes] = []
    names["note"](ours, seen)
    await world.worker.add(1, 2)
    assert names["tell_all"](theirs, b"all") == 1
    await world.worker.add(1, 2)
    assert seen == [b"all"]

    positions = names["open_positions"](world.server)
    assert positions.name == "positions"

    assert not names["is_welcome"](world.peer)
    assert not names["is_welcome"](world.server_peer)
    friend = (await world.open_hub()).peer(f"{world.url}?token=secret")
    await friend.wait_connected()
    other = world.server.server_peers[-1]
    assert names["is_welcome"](other)


def test_the_transport_on_the_page_is_the_sample() -> None:
    source = (DOCS.parent / "samples" / "tcp_transport.py").read_text()
    shown = blocks("transports.md")
    assert [block in source for block in shown] == [False, True, True]
    assert shown[0] == 'hub = RpcHub(transport="websockets")\n'


def test_the_page_lists_what_a_transport_needs() -> None:
    sample = ast.parse((DOCS.parent / "samples" / "tcp_transport.py").read_text())
    needed = {
        alias.name
        for node in ast.walk(sample)
        if isinstance(node, ast.ImportFrom) and node.module == "refusion.rpc.transports"
        for alias in node.names
    }
    table = re.findall(r"^\|.*\|$", (DOCS / "transports.md").read_text(), re.MULTILINE)
    listed = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    assert {name for name in needed if not name.startswith("CLOSE_")} <= listed
    assert not [node for node in ast.walk(sample) if isinstance(node, ast.ImportFrom) and "._" in (node.module or "")]
