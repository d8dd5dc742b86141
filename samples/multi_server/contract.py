"""What a chat server offers, and how calls find the server of a chat."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from refusion import compute_method
from refusion.rpc import MethodDefinition, rpc_method

__all__ = ["ChatApi", "Post", "chat_of"]


class Post(Struct, frozen=True):
    """Adds a message to a chat."""

    chat_id: str
    message: str


class ChatApi:
    """Chats, and what is known of them."""

    @compute_method
    async def recent_messages(self, chat_id: str) -> list[str]:
        """Return the last ten messages."""
        raise NotImplementedError

    @compute_method
    async def word_count(self, chat_id: str) -> int:
        """Return how many words the last messages have."""
        raise NotImplementedError

    @rpc_method(is_command=True)
    async def post(self, command: Post) -> str:
        """Add a message; returns the name of the server that has the chat."""
        raise NotImplementedError


def chat_of(method: MethodDefinition, values: Sequence[Any]) -> str:
    """Return the chat that a call is about."""
    chat_id: str = values[0].chat_id if isinstance(values[0], Post) else values[0]
    return chat_id
