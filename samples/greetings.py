"""A service that is called over WebSocket and with curl; run it with `uvicorn samples.greetings:app`."""

import msgspec

from refusion import FusionHub, compute_method
from refusion.rpc.transports.asgi import RpcEndpoint


class Guest(msgspec.Struct):
    """Who is greeted."""

    name: str
    title: str = ""


class Greeter:
    """Greets, and counts whom it has greeted."""

    async def greet(self, guest: Guest, *, is_formal: bool = False) -> str:
        """Greet somebody."""
        raise NotImplementedError

    @compute_method
    async def get_count(self, name: str) -> int:
        """Return how often somebody was greeted."""
        raise NotImplementedError

    async def forget(self, name: str) -> None:
        """Act as if somebody had never come."""
        raise NotImplementedError


class GreeterService(Greeter):
    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    async def greet(self, guest: Guest, *, is_formal: bool = False) -> str:
        self._counts[guest.name] = self._counts.get(guest.name, 0) + 1
        self.get_count.invalidate(guest.name)
        return f"Good day, {guest.title or 'dear'} {guest.name}." if is_formal else f"Hello, {guest.name}!"

    @compute_method
    async def get_count(self, name: str) -> int:
        return self._counts.get(name, 0)

    async def forget(self, name: str) -> None:
        if self._counts.pop(name, None) is None:
            raise LookupError(f"nobody named {name} was here")
        self.get_count.invalidate(name)


hub = FusionHub()
hub.add_service(Greeter, GreeterService())
app = RpcEndpoint(hub)
