"""Errors on the wire: .NET type names there, the natural builtin errors here."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from refusion.rpc._errors import (
    RpcArgumentError,
    RpcCallCancelled,
    RpcCallTimeout,
    RpcError,
    RpcOverloaded,
    RpcRemoteError,
    RpcRerouted,
)

__all__ = ["ExceptionInfo", "error_from_info", "info_from_error", "info_from_fields"]

_CORE: Final = "System.Private.CoreLib"
_REMOTE_EXCEPTION: Final = "ActualLab.Serialization.RemoteException, ActualLab.Core"
_RPC_TYPES: Final[tuple[tuple[type[RpcError], str], ...]] = (
    (RpcRerouted, "ActualLab.Rpc.RpcRerouteException"),
    (RpcOverloaded, "ActualLab.Rpc.RpcResourceLimitExceededException"),
)
# What a hub says of a call that it has made in turn, for another one, is the same for who has made that.
_CORE_TYPES: Final[tuple[tuple[type[RpcError], str], ...]] = (
    (RpcArgumentError, "System.ArgumentException"),
    (RpcCallTimeout, "System.TimeoutException"),
    (RpcCallCancelled, "System.OperationCanceledException"),
)

# The first .NET name of a builtin is the one it is written as; most specific builtins first.
_TYPES: Final[tuple[tuple[type[BaseException], tuple[str, ...]], ...]] = (
    (asyncio.CancelledError, ("System.OperationCanceledException", "System.Threading.Tasks.TaskCanceledException")),
    (TimeoutError, ("System.TimeoutException",)),
    (FileNotFoundError, ("System.IO.FileNotFoundException", "System.IO.DirectoryNotFoundException")),
    (PermissionError, ("System.UnauthorizedAccessException", "System.Security.SecurityException")),
    (OSError, ("System.IO.IOException",)),
    (KeyError, ("System.Collections.Generic.KeyNotFoundException",)),
    (IndexError, ("System.IndexOutOfRangeException",)),
    (ZeroDivisionError, ("System.DivideByZeroException",)),
    (OverflowError, ("System.OverflowException",)),
    (ArithmeticError, ("System.ArithmeticException",)),
    (NotImplementedError, ("System.NotImplementedException", "System.NotSupportedException")),
    (AttributeError, ("System.MissingMemberException",)),
    (TypeError, ("System.InvalidCastException", "System.ArgumentNullException")),
    (
        ValueError,
        ("System.ArgumentException", "System.ArgumentOutOfRangeException", "System.FormatException"),
    ),
    (RuntimeError, ("System.InvalidOperationException", "System.ObjectDisposedException")),
    (MemoryError, ("System.OutOfMemoryException",)),
)
_BY_NAME: Final = {name: builtin for builtin, names in _TYPES for name in names}


class ExceptionInfo(msgspec.Struct, frozen=True, rename="pascal"):
    """An error as it travels; an empty type name means that there is none."""

    type_ref: str = ""
    """The .NET type name with its assembly, as `System.TimeoutException, System.Private.CoreLib`."""

    message: str = ""
    """The text of the error."""


def info_from_fields(fields: Mapping[str, Any]) -> ExceptionInfo:
    """Return what was received of an error, field by field; peers differ in how they write the names."""
    texts = {name.lower(): value for name, value in fields.items() if isinstance(value, str)}
    return ExceptionInfo(texts.get("typeref", ""), texts.get("message", ""))


def info_from_error(error: BaseException) -> ExceptionInfo:
    """Return what to send for an error.

    A builtin error travels under the .NET name of the same meaning; an error of another type under that of
    its nearest builtin base, with the name of its type in front of its text.
    """
    if isinstance(error, RpcRemoteError):
        return ExceptionInfo(error.type_name, error.message)
    message = _text_of(error)
    for kind, name in _CORE_TYPES:
        if isinstance(error, kind):
            return ExceptionInfo(f"{name}, {_CORE}", message)
    if isinstance(error, RpcError):
        name = next((name for kind, name in _RPC_TYPES if isinstance(error, kind)), "ActualLab.Rpc.RpcException")
        return ExceptionInfo(f"{name}, ActualLab.Rpc", message)
    for builtin, names in _TYPES:
        if type(error) is builtin:
            return ExceptionInfo(f"{names[0]}, {_CORE}", message)
    name = type(error).__name__
    for builtin, names in _TYPES:
        if isinstance(error, builtin):
            return ExceptionInfo(f"{names[0]}, {_CORE}", f"{name}: {message}")
    return ExceptionInfo(_REMOTE_EXCEPTION, f"{name}: {message}")


def error_from_info(info: ExceptionInfo) -> Exception:
    """Return the error to raise for one that was received."""
    if not info.type_ref:
        return RpcRemoteError("", "the other side has reported an error without saying which")
    name = info.type_ref.partition(",")[0].strip()
    for kind, known in _RPC_TYPES:
        if name == known:
            return kind(info.message)
    builtin = _BY_NAME.get(name)
    if builtin is asyncio.CancelledError:
        # Raised as such it would look like a cancellation of the caller's own task.
        return RpcCallCancelled(info.message or "the other side has cancelled the call")
    if builtin is None or not issubclass(builtin, Exception):
        return RpcRemoteError(info.type_ref, info.message)
    return _remote_kind(builtin)(info.type_ref, info.message)


_remote_kinds: Final[dict[type[Exception], type[RpcRemoteError]]] = {}


def _remote_kind(builtin: type[Exception]) -> type[RpcRemoteError]:
    """Return the class of remote errors that are instances of `builtin`, too."""
    known = _remote_kinds.get(builtin)
    if known is None:
        known = _remote_kinds[builtin] = _create_remote_kind(builtin)
    return known


def _create_remote_kind(builtin: type[Exception]) -> type[RpcRemoteError]:

    def reduce(self: RpcRemoteError) -> object:
        return error_from_info, (ExceptionInfo(self.type_name, self.message),)

    members = {"__reduce__": reduce, "__doc__": f"A {builtin.__name__} of the other side.", "__module__": __name__}
    return type(f"Remote{builtin.__name__}", (RpcRemoteError, builtin), members)


def _text_of(error: BaseException) -> str:
    try:
        # str() of a KeyError is the repr of the key.
        return str(error.args[0]) if type(error) is KeyError and error.args else str(error)
    except Exception:
        return "its text can't be had: str() of it fails"
