"""In Litestar, which takes the path of a mount away from what is mounted."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from litestar import Litestar, MediaType, asgi, get

from refusion import FusionHub
from refusion.rpc.http import RpcHttpEndpoint
from refusion.rpc.transports.asgi import RpcEndpoint
from samples.greetings import Greeter, GreeterService

hub = FusionHub()
hub.add_service(Greeter, GreeterService())
http = RpcHttpEndpoint(hub, "/http", server_url="/rpc/http")


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None]:
    async with hub:
        yield


@get("/", media_type=MediaType.TEXT, sync_to_thread=False)
def home() -> str:
    return "Welcome!"


rpc = asgi("/rpc", is_mount=True, copy_scope=True)(RpcEndpoint(hub, http=http))
app = Litestar([home, rpc], lifespan=[lifespan])
