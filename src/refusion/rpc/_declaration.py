"""How a contract is marked: names on the wire, and how its methods are called."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag
from typing import Any, Final, TypeVar, final

from ._errors import RpcContractError
from ._limits import RpcCallTimeouts

__all__ = [
    "MethodOptions",
    "RpcExecutionMode",
    "RpcNoWait",
    "method_options",
    "rpc_method",
    "rpc_service",
    "service_name",
]

C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Any])

_NAME: Final = "_refusion_rpc_name"
_OPTIONS: Final = "_refusion_rpc_options"


@final
class RpcNoWait:
    """The declared result of a method that nobody waits for: fire and forget.

    Such a call is dropped when there is no link, and its errors stay where they happen.
    """

    __slots__ = ()


class RpcExecutionMode(Flag):
    """What a call puts up with; the numbers are those of the reference.

    Without a flag the call fails with `RpcDisconnected` where it would need it, and nothing is sent.
    """

    NONE = 0

    AWAIT_CONNECTION = 1
    """It may be made while there is no link, and waits for one."""

    ALLOW_RECONNECT = 2
    """It may outlive its connection: the same other side is asked about it over the next one."""

    ALLOW_RESEND = 4
    """It may be sent again when the other side has forgotten it, and may so be run a second time."""

    ALL = 7


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What `rpc_method` says about a method."""

    name: str | None = None
    cancellable: bool = True
    is_command: bool = False
    timeouts: RpcCallTimeouts | None = None
    mode: RpcExecutionMode = RpcExecutionMode.ALL


_DEFAULT: Final = MethodOptions()


def rpc_service(*, name: str) -> Callable[[C], C]:
    """Give a contract another name on the wire than that of its class, as `IStockApi` for a .NET peer."""

    def apply(contract: C) -> C:
        setattr(contract, _NAME, name)
        return contract

    return apply


def rpc_method(
    *,
    name: str | None = None,
    cancellable: bool = True,
    is_command: bool = False,
    timeouts: RpcCallTimeouts | None = None,
    mode: RpcExecutionMode = RpcExecutionMode.ALL,
) -> Callable[[F], F]:
    """Say how a method of a contract is known on the wire, and how it is called.

    Args:
        name: Its name there, in place of its own in PascalCase; with a `:` in it, it is taken as it stands.
        cancellable: Whether the peer's method has a slot for cancellation, which counts as a parameter.
        is_command: Whether it changes something; commands have time limits of their own in `RpcLimits`.
        timeouts: How long its calls may take, in place of the limits of its kind.
        mode: What its calls put up with when links break.

    Raises:
        RpcContractError: If it may be sent again, but not outlive its connection.
    """
    if RpcExecutionMode.ALLOW_RESEND in mode and RpcExecutionMode.ALLOW_RECONNECT not in mode:
        raise RpcContractError("rpc_method", "a call that may be sent again has to outlive its connection, too")

    def apply(method: F) -> F:
        options = MethodOptions(name, cancellable, is_command, timeouts, mode)
        setattr(inspect.unwrap(method), _OPTIONS, options)
        return method

    return apply


def service_name(contract: type[Any]) -> str:
    """Return the name of a contract on the wire; a subclass doesn't inherit that of its base."""
    name: str = contract.__dict__.get(_NAME, contract.__name__)
    return name


def method_options(function: Callable[..., Any]) -> MethodOptions:
    """Return what was said about a method."""
    options: MethodOptions = getattr(function, _OPTIONS, _DEFAULT)
    return options
