"""The processes of `bench_channels`: `python -m benchmarks._channels server NAME`, or `client NAME URL`."""

import argparse
import asyncio
import os
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from refusion.rpc import RpcChannel, RpcHub, RpcNoWait, RpcPeer

from ._processes import obey, pin

__all__ = ["STACKS"]

STACKS = ("picows", "on_message", "async for", "no-wait method")


class Counter:
    """Counts what arrives, until it is all there."""

    def __init__(self) -> None:
        self.count = 0
        self._wanted = 0
        self._all_here = asyncio.Event()

    def add(self) -> None:
        self.count += 1
        if self.count == self._wanted:
            self._all_here.set()

    async def wait(self, count: int) -> None:
        self._wanted = count
        if self.count < count:
            self._all_here.clear()
            await self._all_here.wait()
        self.count = 0


class Sink:
    async def put(self, data: bytes) -> RpcNoWait:
        raise NotImplementedError


async def run_server(name: str) -> None:
    counter = Counter()
    if name == "picows":

        class Listener(WSListener):
            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                frame.get_payload_as_bytes()
                counter.add()

        server = await ws_create_server(lambda request: Listener(), "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        hub = RpcHub(transport="picows")
        channel = RpcChannel(hub, "bench")

        class SinkService(Sink):
            async def put(self, data: bytes) -> RpcNoWait:
                counter.add()
                return RpcNoWait()

        def note(peer: RpcPeer, data: bytes) -> None:
            counter.add()

        async def take() -> None:
            async for _ in channel:
                counter.add()

        hub.add_service(Sink, SinkService())
        url = (await hub.serve()).url
        if name == "async for":
            taking = asyncio.create_task(take())
            taking.add_done_callback(lambda task: task.result())
        else:
            channel.on_message(note)
    await obey(url, {"wait": counter.wait})


async def run_client(name: str, url: str) -> None:
    if name == "picows":
        may_send = asyncio.Event()
        may_send.set()

        class Listener(WSListener):
            def pause_writing(self) -> None:
                may_send.clear()

            def resume_writing(self) -> None:
                may_send.set()

        transport, _ = await ws_connect(Listener, url)

        async def send(data: bytes) -> None:
            transport.send(WSMsgType.BINARY, data)
            if not may_send.is_set():
                await may_send.wait()

    else:
        hub = RpcHub(transport="picows")
        peer = hub.peer(url)
        channel = RpcChannel(hub, "bench")
        sink = hub.client(Sink, peer)
        await peer.wait_connected()

        async def send(data: bytes) -> None:
            if name == "no-wait method":
                await sink.put(data)
            else:
                await channel.send(peer, data)

    async def send_all(size: int, count: int) -> None:
        data = os.urandom(size)
        for number in range(count):
            await send(data)
            if number % 100 == 0:
                await asyncio.sleep(0)

    await obey(None, {"send": send_all})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["server", "client"])
    parser.add_argument("name", choices=STACKS)
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    pin(arguments.core)
    # As in any process that has once had a large object: without it the allocator gives large buffers back each time.
    buffer: Any = bytearray(30_000_000)
    del buffer
    uvloop.run(run_server(arguments.name) if arguments.side == "server" else run_client(arguments.name, arguments.url))


if __name__ == "__main__":
    main()
