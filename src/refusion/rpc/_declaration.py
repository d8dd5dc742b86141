"""How a contract is marked: names on the wire, and how its methods are called."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag
from typing import Any, Final, TypeVar, final

from ._errors import RpcContractError
from ._legacy_names import LegacyNames
from ._limits import RpcCallTimeouts
from .protocol._version_set import Version, parse_version

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
_LEGACY_NAMES: Final = "_refusion_rpc_legacy_names"
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
    needs_task: bool = False
    legacy_names: LegacyNames = field(default_factory=dict[str, Version])


_DEFAULT: Final = MethodOptions()


def rpc_service(*, name: str | None = None, legacy_names: Mapping[str, str] | None = None) -> Callable[[C], C]:
    """Say how a contract is known on the wire.

    Args:
        name: Its name there, in place of that of its class, as `IStockApi` for a .NET peer.
        legacy_names: Names that older clients know it by, each with the last version of the API that it was used in.

    Raises:
        ValueError: If a version isn't one.
    """
    old = _versions(legacy_names)

    def apply(contract: C) -> C:
        setattr(contract, _NAME, name or contract.__name__)
        setattr(contract, _LEGACY_NAMES, old)
        return contract

    return apply


def rpc_method(
    *,
    name: str | None = None,
    cancellable: bool = True,
    is_command: bool = False,
    timeouts: RpcCallTimeouts | None = None,
    mode: RpcExecutionMode = RpcExecutionMode.ALL,
    needs_task: bool = False,
    legacy_names: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Say how a method of a contract is known on the wire, and how it is called.

    Args:
        name: Its name there, in place of its own in PascalCase; with a `:` in it, it is taken as it stands.
        cancellable: Whether the peer's method has a slot for cancellation, which counts as a parameter.
        is_command: Whether it changes something; commands have time limits of their own in `RpcLimits`.
        timeouts: How long its calls may take, in place of the limits of its kind.
        mode: What its calls put up with when links break.
        needs_task: Whether it has to run in a task of its own although it awaits nothing, because it asks for the
            current task.
        legacy_names: Names that older clients know it by, each with the last version of the API that it was used in.

    Raises:
        RpcContractError: If it may be sent again, but not outlive its connection.
        ValueError: If a version isn't one.
    """
    old = _versions(legacy_names)
    if RpcExecutionMode.ALLOW_RESEND in mode and RpcExecutionMode.ALLOW_RECONNECT not in mode:
        raise RpcContractError("rpc_method", "a call that may be sent again has to outlive its connection, too")

    def apply(method: F) -> F:
        options = MethodOptions(name, cancellable, is_command, timeouts, mode, needs_task, old)
        setattr(inspect.unwrap(method), _OPTIONS, options)
        return method

    return apply


def service_name(contract: type[Any]) -> str:
    """Return the name of a contract on the wire; a subclass doesn't inherit that of its base."""
    name: str = contract.__dict__.get(_NAME, contract.__name__)
    return name


def legacy_service_names(contract: type[Any]) -> LegacyNames:
    """Return the names that a contract had on the wire; a subclass doesn't inherit those of its base."""
    names: LegacyNames = contract.__dict__.get(_LEGACY_NAMES, {})
    return names


def method_options(function: Callable[..., Any]) -> MethodOptions:
    """Return what was said about a method."""
    options: MethodOptions = getattr(function, _OPTIONS, _DEFAULT)
    return options


def _versions(names: Mapping[str, str] | None) -> LegacyNames:
    return {name: parse_version(last) for name, last in (names or {}).items()}
