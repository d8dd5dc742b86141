"""What a stack has to offer to be measured: a server and a client, each in a process of its own."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, ClassVar

import uvloop

from ._cases import CASES, Case

__all__ = ["Client", "Stack"]


class Client(ABC):
    """The calling side of a stack, connected."""

    @abstractmethod
    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        """Return what makes the call of a case; with as little around the stack's own way as can be."""

    def arguments(self, case: str) -> tuple[Any, ...]:
        """Return the arguments of a case in the form in which users of the stack have them."""
        return CASES[case].args

    @abstractmethod
    async def count(self, n: int) -> AsyncIterable[int]:
        """Return a stream of the numbers below `n`, which the server makes one by one."""


class Stack(ABC):
    """A way to make remote calls."""

    about: str
    """What exactly is measured, in a line."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop] = staticmethod(uvloop.new_event_loop)
    """What its event loops are made with."""

    has_stream: ClassVar[bool] = True
    """Whether there is something to be compared with a stream."""

    @abstractmethod
    async def serve(self) -> str:
        """Start to listen at a free port of this host, and return the URL or address."""

    @abstractmethod
    async def connect(self, url: str) -> Client:
        """Return a client that is connected, or will connect with its first call."""

    def has(self, case: Case, concurrency: int) -> bool:
        """Tell whether it takes part in a case."""
        return case.name in CASES
