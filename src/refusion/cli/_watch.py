"""Follows one value of a running service."""

import asyncio
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from refusion.compute import BoundAsyncMethod, Computed, ComputeMethod
from refusion.remote import FusionHub
from refusion.rpc import RpcClientPeer, RpcConnectionKind, RpcError, ServiceDefinition

__all__ = ["UsageError", "watch"]


class UsageError(Exception):
    """Raised when the command line can't be followed; its text tells why."""


async def watch(
    url: str, target: str, texts: Sequence[str], contract: str, *, count: int | None = None, format: str = "msgpack6c"
) -> None:
    """Print a value of a compute method, now and each time it changes.

    Args:
        url: Where the server listens.
        target: Service and method of the contract, as `StockApi.get_price`.
        texts: The arguments as they were typed.
        contract: The module that has the contract.
        count: How many values to print; None for no end.
        format: The key of the wire format.

    Raises:
        UsageError: If there is no such contract or method, or the arguments don't fit it.
    """
    contract_class, name = _find(target, contract)
    values = _parse(contract_class, name, texts)
    try:
        async with FusionHub(format=format) as hub:
            peer = hub.peer(url)
            method: BoundAsyncMethod[Any, Any] = getattr(hub.client(contract_class, peer), name)
            reporting = asyncio.create_task(_report_link(peer))
            try:
                printed = 0
                async for computed in (await method.capture(*values)).changes():
                    print(f"{time.strftime('%H:%M:%S')}  {_text(computed)}", flush=True)
                    printed += 1
                    if printed == count:
                        return
            finally:
                reporting.cancel()
    except (RpcError, ValueError) as error:
        raise UsageError(str(error)) from error


def _find(target: str, module_name: str) -> tuple[type[Any], str]:
    service, _, name = target.rpartition(".")
    # As with `python -m`, a module of the folder that one stands in counts.
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"can't import the contract's module {module_name!r}: {error}") from error
    finally:
        sys.path.remove("")
    contract = getattr(module, service, None)
    if not isinstance(contract, type):
        classes = [known for known, value in vars(module).items() if isinstance(value, type)]
        raise UsageError(f"{module_name} has no contract {service!r} (it has: {', '.join(classes) or 'none'})")
    methods = [known for known in dir(contract) if isinstance(getattr(contract, known), ComputeMethod)]
    if name not in methods:
        raise UsageError(f"{service} has no compute method {name!r} (it has: {', '.join(methods) or 'none'})")
    return contract, name


def _parse(contract: type[Any], name: str, texts: Sequence[str]) -> list[Any]:
    definition = ServiceDefinition(contract, lambda _: 0)
    method = next(method for method in definition.methods.values() if method.name == name)
    types = method.argument_types
    if len(texts) > len(types):
        raise UsageError(f"{method.full_name} takes {len(types)} arguments, and {len(texts)} were given")
    values: list[Any] = []
    for text, type_ in zip(texts, types, strict=False):
        try:
            values.append(text if type_ is str else msgspec.json.decode(text, type=type_, strict=False))
        except msgspec.MsgspecError as error:
            raise UsageError(f"{text!r} isn't a {getattr(type_, '__name__', type_)}: {error}") from error
    try:
        method.bind(tuple(values), {})
    except TypeError as error:
        raise UsageError(f"{method.full_name}: {error}") from error
    return values


def _text(computed: Computed[Any]) -> str:
    error = computed.error
    return repr(computed.value) if error is None else f"{type(error).__name__}: {error}"


async def _report_link(peer: RpcClientPeer) -> None:
    kinds = {RpcConnectionKind.CONNECTED: "connected", RpcConnectionKind.DISCONNECTED: "disconnected"}
    last = None
    while True:
        state = peer.connection_state
        text = kinds.get(state.kind)
        if text is not None and text != last:
            last = text
            reason = f": {state.error}" if state.error is not None else ""
            print(f"({text}{reason})", file=sys.stderr, flush=True)
        await peer.wait_state_change()
