"""In Starlette."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from refusion import FusionHub
from refusion.rpc.transports.asgi import RpcEndpoint
from samples.greetings import Greeter, GreeterService

hub = FusionHub()
hub.add_service(Greeter, GreeterService())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with hub:
        yield


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Welcome!")


app = Starlette(routes=[Route("/", home), Mount("/rpc", RpcEndpoint(hub))], lifespan=lifespan)
