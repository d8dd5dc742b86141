"""The RPC stacks that are compared, one module each; what they do is in `_cases`, what they are in `_stack`."""

from importlib import import_module
from typing import Final

from ._stack import Stack

__all__ = ["STACKS", "load"]

STACKS: Final = {
    "refusion": "refusion",
    "refusion-websockets": "refusion",
    "refusion-json": "refusion",
    "grpc.aio": "grpc_aio",
    "grpc.aio-uvloop": "grpc_aio",
    "json-rpc": "json_rpc",
    "socketio": "socketio",
    "aiohttp": "aiohttp",
    "fastapi": "fastapi",
    "echo": "echo",
}
"""The module of each stack, in the order in which they are shown."""


def load(name: str) -> Stack:
    """Return a stack; only its own library is imported."""
    stack: Stack = import_module(f".{STACKS[name]}", __name__).create(name)
    return stack
