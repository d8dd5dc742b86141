"""What a connection attempt leaves open when it fails or is cancelled, and how it is closed."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Self, final

__all__ = ["Dialing", "wait_turns"]

_CLOSING_TURNS: Final = 100
"""How many turns of the event loop the end of a connection may take; about three are usual."""

_Address = tuple[Any, ...]


@final
class Dialing:
    """An `async with` block in which a connection is made.

    The sockets that it opens belong to the transports that are made of them. If the block fails, or is cancelled, it
    ends when they are closed.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is not None:
            await self._close_all()

    async def open(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to the first address of a host that takes it.

        Raises:
            OSError: If none does; it is about the last one.
        """
        problem = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in await _addresses(host, port):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, address)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                self._sockets.append(sock)
                return sock
        raise problem

    async def _close_all(self) -> None:
        for sock in self._sockets:
            try:
                # Its transport reads the end of the connection, and closes the socket.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The other side was faster, or it is closed already.
                continue
        if not await wait_turns(lambda: all(sock.fileno() == -1 for sock in self._sockets)):
            # They have no transport: the attempt has failed before there was one.
            for sock in self._sockets:
                sock.close()


async def wait_turns(is_done: Callable[[], bool]) -> bool:
    """Wait until a connection that was cut is closed, which takes a few turns; return False if it takes too many."""
    for _ in range(_CLOSING_TURNS):
        if is_done():
            return True
        await asyncio.sleep(0)
    return False


async def _addresses(host: str, port: int) -> list[tuple[Any, Any, int, str, _Address]]:
    try:
        # Doesn't block: an address isn't looked up.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
