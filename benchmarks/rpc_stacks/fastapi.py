"""FastAPI under uvicorn: a call is a POST with JSON that pydantic checks."""

from collections.abc import AsyncIterator
from typing import Annotated

import pydantic
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse

from . import _cases
from ._http_client import HttpClient
from ._stack import Client, Stack
from ._uvicorn import serve_asgi

__all__ = ["create"]


class Item(pydantic.BaseModel):
    id: int
    name: str
    city: str
    is_active: bool
    score: float
    tags: list[str]


app = FastAPI()
Numbers = Annotated[tuple[int, int], Body()]


@app.post("/add")
async def add(numbers: Numbers) -> int:
    return await _cases.add(*numbers)


@app.post("/add_later")
async def add_later(numbers: Numbers) -> int:
    return await _cases.add_later(*numbers)


@app.post("/item")
async def item(values: Annotated[tuple[Item], Body()]) -> Item:
    return values[0]


@app.post("/items")
async def items(values: Annotated[tuple[list[Item]], Body()]) -> list[Item]:
    return values[0]


@app.post("/count")
async def count(values: Annotated[tuple[int], Body()]) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        async for number in _cases.count(values[0]):
            yield b"%d\n" % number

    return StreamingResponse(lines())


class _FastApi(Stack):
    about = "uvicorn, POST with JSON, pydantic models in the server; the client is aiohttp's; a stream is lines; dicts"

    async def serve(self) -> str:
        return f"http://127.0.0.1:{await serve_asgi(app)}"

    async def connect(self, url: str) -> Client:
        return HttpClient(url)


def create(name: str) -> Stack:
    return _FastApi()
