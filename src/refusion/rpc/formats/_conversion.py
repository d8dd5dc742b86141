"""Between values and what msgspec makes of them: where its typed coding isn't enough, and what it complains of."""

import re
from functools import cached_property
from typing import Any, Final, final

import msgspec

from refusion.rpc._errors import RpcArgumentError

from ._declared import Declared
from ._hooks import binary_hooks, text_hooks
from ._readers import Reader, create_reader
from ._spans import BUILTIN_TYPES, with_spans

__all__ = ["DECODE_ERRORS", "ENCODE_ERRORS", "Conversion", "argument_error", "find_path"]

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
"""What is raised for data that isn't right."""

ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What is raised for values that can't be written."""

_NATIVE: Final = (bytes, bytearray, memoryview)


@final
class Conversion:
    """Converts values of one declared type by way of untyped ones, more patiently than typed decoding does.

    An integral float counts as an integer: JavaScript writes those beyond 32 bits as floats. In JSON the
    names of fields may differ in case, as .NET writes and reads them. Spans of time have the forms of .NET.
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self._to_wire, self._from_wire = text_hooks if declared.is_text else binary_hooks

    def read(self, value: Any) -> Any:
        """Return what an untyped value is as the declared type.

        Raises:
            msgspec.ValidationError: If it doesn't fit even then.
        """
        reader = self._reader
        is_text = self.declared.is_text
        return msgspec.convert(
            value if reader is None else reader(value),
            self.declared.type,
            str_keys=is_text,
            builtin_types=None if is_text else _NATIVE,
            dec_hook=self._from_wire,
        )

    def write(self, value: Any) -> Any:
        """Return a value as an untyped one, with its spans of time in the forms of .NET."""
        return with_spans(self.untyped(value), is_text=self.declared.is_text)

    def untyped(self, value: Any) -> Any:
        """Return a value as an untyped one."""
        return msgspec.to_builtins(value, builtin_types=BUILTIN_TYPES, enc_hook=self._to_wire)

    @cached_property
    def _reader(self) -> Reader | None:
        # For most types the second try never comes.
        return create_reader(self.declared)


_AT: Final = re.compile(r"(.*?) - at `\$(.*?)`((?: - at .*)?)", re.DOTALL)
_KEY_AT: Final = re.compile(r"(.*?) - at `key` in `\$(.*?)`((?: - at .*)?)", re.DOTALL)
_INDEX: Final = re.compile(r"\[(\d+)\](.*)", re.DOTALL)


def find_path(error: BaseException) -> tuple[str, str]:
    """Return what is wrong, and where in the value, of an error that was raised for data.

    An error in an error, as of a pydantic model in a list, tells two places: the inner one first.
    """
    text = str(error)
    if isinstance(error, RecursionError):
        return "the values are nested too deep", ""
    if not isinstance(error, (msgspec.MsgspecError, UnicodeDecodeError, ValueError)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    path = ""
    while True:
        key_match = _KEY_AT.fullmatch(text)
        match = key_match or _AT.fullmatch(text)
        if match is None:
            return text or type(error).__name__, path
        problem, place, rest = match.groups()
        path = f"{place}{' (a key)' if key_match else ''}{path}" if not path else f"{place}{path}"
        text = problem + rest


def argument_error(error: BaseException, index: int | None = None) -> RpcArgumentError:
    """Return the error that tells which argument is wrong, and where in it.

    Args:
        error: What was raised for the data of the argument, or, without an index, for that of all of them.
        index: Which argument it is.
    """
    problem, path = find_path(error)
    if index is None:
        match = _INDEX.fullmatch(path)
        if match is not None:
            index, path = int(match.group(1)), match.group(2)
    return RpcArgumentError(f"{problem} at {path.lstrip('.')}" if path else problem, index)
