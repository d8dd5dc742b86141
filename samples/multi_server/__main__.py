"""Two chat servers and a client that sees one: `python -m samples.multi_server`.

The client has one object for all chats. A router gives each call the server that the hash of the chat's id says,
the same one in every process. What the client watches is invalidated by the server that has it.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence

from refusion import FusionHub
from refusion.rpc import route_by_hash

from .contract import ChatApi, Post, chat_of

CHATS = ("astronomy", "baking", "chess", "diving")
LINES = ("hello there", "has anybody seen the new one", "yes, it is lovely")


def start_server(name: str) -> tuple["subprocess.Popen[str]", str]:
    """Start a server process; returns it with its URL."""
    command = [sys.executable, "-m", "samples.multi_server.server", "--name", name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def watch(chats: ChatApi, chat_id: str) -> None:
    """Print the number of words whenever it changes, until there are as many as will be posted."""
    everything = sum(len(line.split()) for line in LINES)
    computed = await chats.word_count.capture(chat_id)
    async for current in computed.changes():
        print(f"{chat_id:>10}: {current.value:2} words", flush=True)
        if current.value == everything:
            return


async def chat(urls: Sequence[str]) -> None:
    """Post to several chats, and watch them."""
    async with FusionHub() as hub:
        chats = hub.client(ChatApi, route_by_hash(urls, key=chat_of))
        async with asyncio.TaskGroup() as tasks:
            for chat_id in CHATS:
                tasks.create_task(watch(chats, chat_id))
            for line in LINES:
                for chat_id in CHATS:
                    server = await chats.post(Post(chat_id, line))
                    print(f"{chat_id:>10}: {line!r} went to {server}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.multi_server", description="Chat over several servers.")
    parser.add_argument("--servers", type=int, default=2, help="how many servers to start (default 2)")
    options = parser.parse_args()
    servers = [start_server(f"Server{index}") for index in range(max(1, options.servers))]
    try:
        asyncio.run(chat([url for _, url in servers]))
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        for process, _ in servers:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
