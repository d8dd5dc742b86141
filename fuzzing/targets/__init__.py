"""What is fuzzed; each target is loaded by its name, so that a process has no more than it needs."""

import importlib

from fuzzing._harness import Target

__all__ = ["load", "names"]

_MODULES = {
    "frames-json": "frames",
    "frames-msgpack6": "frames",
    "frames-msgpack6c": "frames",
    "frames-lz4": "lz4",
    "args-json5np": "arguments",
    "args-json5": "arguments",
    "args-msgpack": "arguments",
    "handshakes": "handshakes",
    "errors": "errors",
    "ids": "ids",
    "requests": "requests",
    "stream-references": "stream_references",
    "stream-producer": "stream_producer",
    "stream-consumer": "stream_consumer",
    "stream-pair": "stream_pair",
    "http": "http",
    "server-link": "server_link",
    "client-link": "client_link",
}


def names() -> tuple[str, ...]:
    """Return the names of all targets."""
    return tuple(_MODULES)


def load(name: str) -> Target:
    """Return a target."""
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    targets: tuple[Target, ...] = module.TARGETS
    (found,) = [target for target in targets if target.name == name]
    return found
