"""In FastAPI."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from refusion import FusionHub
from refusion.rpc.transports.asgi import RpcEndpoint
from samples.greetings import Greeter, GreeterService

hub = FusionHub()
hub.add_service(Greeter, GreeterService())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with hub:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/rpc", RpcEndpoint(hub))


@app.get("/", response_class=PlainTextResponse)
async def home() -> str:
    return "Welcome!"
