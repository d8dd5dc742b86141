"""Decoding into declared types: what is forgiven, and how a misfit is told."""

import re
from typing import Any, Final

import msgspec

from refusion.rpc._errors import RpcArgumentError

from ._hooks import binary_hooks, text_hooks

__all__ = ["argument_error", "convert_leniently"]

_PATH: Final = re.compile(r" - at `\$\[(\d+)\](.*)`$")


def convert_leniently(values: Any, target: Any, *, is_json: bool) -> Any:
    """Convert untyped values, taking an integral float for an integer.

    JavaScript writes integers beyond 32 bits as floats, so whoever declares an integer has to accept them.

    Raises:
        msgspec.ValidationError: If they don't fit even then.
    """
    return msgspec.convert(
        _with_integers(values),
        target,
        str_keys=is_json,
        builtin_types=None if is_json else _NATIVE,
        dec_hook=(text_hooks if is_json else binary_hooks)[1],
    )


_Untyped = float | list[Any] | dict[Any, Any] | str | int | bytes | None

_NATIVE: Final = (bytes, bytearray, memoryview)


def _with_integers(value: _Untyped) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    return value


def argument_error(error: Exception) -> RpcArgumentError:
    """Return the error that tells which argument is wrong, and where in it."""
    text = str(error)
    match = _PATH.search(text)
    if match is None:
        if isinstance(error, RecursionError):
            text = "the values are nested too deep"
        return RpcArgumentError(text or type(error).__name__)
    path = match.group(2)
    problem = text[: match.start()]
    return RpcArgumentError(f"{problem} at {path.lstrip('.')}" if path else problem, int(match.group(1)))
