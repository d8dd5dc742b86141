"""Between values and what msgspec makes of them: where its typed coding isn't enough, and what it complains of."""

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

ENCODE_ERRORS: Final = (Exception,)
"""What is raised for values that can't be written: not only by msgspec, a class of the user's may raise anything."""

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


_MAX_TEXT: Final = 300
"""How much of an error's text is told: it may quote what was sent."""

_MAX_NESTED: Final = 4
"""How many places within each other are looked for: that of a hook in a value of a hook, and some to spare."""


def find_path(error: BaseException) -> tuple[str, str]:
    """Return what is wrong, and where in the value, of an error that was raised for data.

    msgspec tells the place at the end of the text. An error of a hook, as of a pydantic model in a list, may
    have told one before, within that one.
    """
    if isinstance(error, RecursionError):
        return "the values are nested too deep", ""
    text = str(error)
    if not isinstance(error, (msgspec.MsgspecError, ValueError)) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    path = ""
    is_key = False
    for _ in range(_MAX_NESTED):
        problem, separator, place = text.rpartition(" - at `")
        is_key |= place.startswith("key` in `")
        place = place.removeprefix("key` in `")
        if not (separator and place.startswith("$") and place.endswith("`")):
            break
        path += place[1:-1]
        text = problem
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}…"
    return f"{text} (a key)" if is_key else text, path.lstrip(".")


def argument_error(error: BaseException, index: int | None = None) -> RpcArgumentError:
    """Return the error that tells which argument is wrong, and where in it.

    Args:
        error: What was raised for the data of the argument, or, without an index, for that of all of them.
        index: Which argument it is.
    """
    problem, path = find_path(error)
    if index is None and path.startswith("["):
        number, _, rest = path[1:].partition("]")
        if number.isdigit():
            index, path = int(number), rest.lstrip(".")
    return RpcArgumentError(f"{problem} at {path}" if path else problem, index)
