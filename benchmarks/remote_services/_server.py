"""The server's process: both services, at one hub and at one HTTP application."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydantic
from fastapi import FastAPI

from benchmarks.rpc_stacks._uvicorn import serve_asgi
from refusion import FusionHub, registry

from ._relay import Relay
from ._users import ComputedUserApi, ComputedUsers, PlainUserApi, PlainUsers, UserTable

__all__ = ["Servers"]


class UserModel(pydantic.BaseModel):
    id: int
    name: str
    email: str
    about: str
    version: int


class Servers:
    """What listens in this process."""

    def __init__(self) -> None:
        self._near: list[Relay] = []

    async def start(self, folder: Path, delay: float) -> dict[str, str]:
        """Serve, and return the URLs: of HTTP and of calls, through relays that count and far away, too."""
        table = UserTable(folder)
        plain, computed = PlainUsers(table), ComputedUsers(table)
        hub = FusionHub()
        hub.add_service(PlainUserApi, plain)
        hub.add_service(ComputedUserApi, computed)
        rpc = urlsplit((await hub.serve()).url).port or 0
        http = await serve_asgi(_application(plain=plain, computed=computed))
        self._near = [Relay(http, 0.0), Relay(rpc, 0.0)]
        counted_http, counted_rpc = [await relay.listen() for relay in self._near]
        return {
            "http": f"http://127.0.0.1:{http}",
            "rpc": f"ws://127.0.0.1:{rpc}",
            "counted-http": f"http://127.0.0.1:{counted_http}",
            "counted-rpc": f"ws://127.0.0.1:{counted_rpc}",
            "far-rpc": f"ws://127.0.0.1:{await Relay(rpc, delay).listen()}",
        }

    async def traffic(self) -> list[int]:
        """Return how many bytes have gone to the server, and to clients, through the relays that count."""
        return [sum(sizes) for sizes in zip(*[relay.sizes for relay in self._near], strict=True)]

    async def change(self) -> None:
        """Let nothing that is known be true any more."""
        registry().invalidate_everything()


def _application(**services: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/{kind}/users/{user_id}")
    async def get(kind: str, user_id: int) -> UserModel:
        user = await services[kind].get(user_id)
        return UserModel(id=user.id, name=user.name, email=user.email, about=user.about, version=user.version)

    @app.post("/{kind}/users/{user_id}/touch")
    async def touch(kind: str, user_id: int) -> None:
        await services[kind].touch(user_id)

    return app
