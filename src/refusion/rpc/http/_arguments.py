"""The body of a request: an object by parameter name, an array of values, or nothing."""

import inspect
from typing import Any, Final, final

import msgspec

from refusion.rpc._contract import MethodDefinition
from refusion.rpc._errors import RpcArgumentError
from refusion.rpc.formats import get_format

from ._problems import ProblemError

__all__ = ["JSON", "ArgumentReader"]

JSON: Final = get_format("json5np")
"""What decides how values are read and written."""

_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_SPACE: Final = b" \t\r\n"
_SHOWN: Final = 60
"""How many characters of a name that isn't ours are told back."""


@final
class ArgumentReader:
    """Reads the arguments of one method."""

    def __init__(self, definition: MethodDefinition) -> None:
        self._definition = definition
        self.parameters: list[inspect.Parameter] = list(inspect.signature(definition.function).parameters.values())[1:]
        """The parameters of the method, in the order of its argument types."""
        self._codecs = [JSON.arguments((declared,)) for declared in definition.argument_types]
        self._indexes = _spellings([parameter.name for parameter in self.parameters])

    def read(self, body: bytes) -> list[Any]:
        """Return one value per parameter, with defaults applied.

        Raises:
            ProblemError: If the body isn't JSON, or doesn't fit the parameters.
        """
        texts = self._texts(body)
        return [self._value(index, texts.get(index)) for index in range(len(self.parameters))]

    def _texts(self, body: bytes) -> dict[int, msgspec.Raw]:
        """Return the JSON text of each argument that is given, by the index of its parameter."""
        try:
            body.decode()
            content = body.strip(_SPACE)
            if not content:
                return {}
            if content[:1] == b"{":
                return self._by_name(_read_object(content))
            if content[:1] == b"[":
                return self._by_position(_read_array(content))
            msgspec.json.decode(content)
        except UnicodeDecodeError as error:
            raise ProblemError(400, f"the body isn't UTF-8: {error}") from None
        except RecursionError:
            raise ProblemError(400, "the body is nested too deep") from None
        except msgspec.ValidationError as error:
            raise ProblemError(422, f"the body can't be read: {error}") from None
        except msgspec.DecodeError as error:
            raise ProblemError(400, f"the body isn't JSON: {error}") from None
        raise ProblemError(
            422, "the body must be a JSON object by parameter name, or a JSON array of values", known=self._names
        )

    def _by_name(self, given: dict[str, msgspec.Raw]) -> dict[int, msgspec.Raw]:
        texts: dict[int, msgspec.Raw] = {}
        name_of = self._definition.full_name
        for name, text in given.items():
            index = self._indexes.get(name)
            if index is None:
                detail = f"{name_of} has no parameter {_shorten(name)!r} (it has: {', '.join(self._names) or 'none'})"
                raise ProblemError(422, detail, known=self._names)
            if index in texts:
                own = self.parameters[index].name
                raise ProblemError(422, f"argument {own!r} of {name_of} is given twice", argument=own)
            texts[index] = text
        return texts

    def _by_position(self, given: list[msgspec.Raw]) -> dict[int, msgspec.Raw]:
        if len(given) > len(self.parameters):
            detail = f"{self._definition.full_name} takes {len(self.parameters)} arguments and {len(given)} were given"
            raise ProblemError(422, detail, known=self._names)
        return dict(enumerate(given))

    def _value(self, index: int, text: msgspec.Raw | None) -> Any:
        parameter = self.parameters[index]
        if text is None:
            if parameter.default is parameter.empty:
                detail = f"argument {parameter.name!r} of {self._definition.full_name} is missing"
                raise ProblemError(422, detail, argument=parameter.name)
            return parameter.default
        try:
            return self._codecs[index].decode(bytes(text))[0]
        except RpcArgumentError as error:
            told = self._definition.describe_misfit(RpcArgumentError(error.problem, index))
            raise ProblemError(422, str(told), argument=parameter.name) from None

    @property
    def _names(self) -> list[str]:
        return [parameter.name for parameter in self.parameters]


def _spellings(names: list[str]) -> dict[str, int]:
    """Return what each parameter may be called: its own name, and that in camelCase and PascalCase.

    A spelling that two of them would share is nobody's.
    """
    owners: dict[str, set[int]] = {}
    for index, name in enumerate(names):
        first, *rest = name.split("_")
        tail = "".join([part[:1].upper() + part[1:] for part in rest])
        for spelling in (first + tail, first[:1].upper() + first[1:] + tail):
            owners.setdefault(spelling, set()).add(index)
    shared = {spelling: min(indexes) for spelling, indexes in owners.items() if spelling and len(indexes) == 1}
    return shared | {name: index for index, name in enumerate(names)}


def _shorten(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
