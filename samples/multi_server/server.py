"""One chat server: `python -m samples.multi_server.server --name Server0 --port 22222`."""

import argparse
import asyncio

from refusion import FusionHub, compute_method

from .contract import ChatApi, Post

__all__ = ["ChatService"]


class ChatService(ChatApi):
    """Keeps the chats of one server in memory."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._chats: dict[str, list[str]] = {}

    @compute_method
    async def recent_messages(self, chat_id: str) -> list[str]:
        return self._chats.get(chat_id, [])

    @compute_method
    async def word_count(self, chat_id: str) -> int:
        # The messages become a dependency, so this is invalidated with them.
        return sum(len(message.split()) for message in await self.recent_messages(chat_id))

    async def post(self, command: Post) -> str:
        self._chats[command.chat_id] = [*self._chats.get(command.chat_id, []), command.message][-10:]
        self.recent_messages.invalidate(command.chat_id)
        return self._name


async def serve(name: str, port: int) -> None:
    """Serve chats until the process is stopped."""
    async with FusionHub() as hub:
        hub.add_service(ChatApi, ChatService(name))
        server = await hub.serve("127.0.0.1", port)
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.multi_server.server", description="Serve chats.")
    parser.add_argument("--name", default="Server0", help="what it calls itself (default Server0)")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at (default: a free one)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.name, options.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
