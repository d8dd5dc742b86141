"""What identifies a call: argument binding and cache keys.

A key is a flat tuple `(type, value, type, value, ...)`, so that `1`, `True` and `1.0` stay three calls.
Values whose equality can't be trusted as it stands (tuples may hide a `1` or a `True`, NaN isn't equal to
itself) are wrapped in `Frozen`, which compares by shape and keeps the original value for the body.
"""

import inspect
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final, cast, final

from ._errors import ComputeDeclarationError, UnhashableArgument

__all__ = ["ArgumentBinder", "Frozen", "Key"]

Key = tuple[Any, ...]

_PLAIN: Final = frozenset({str, int, bool, bytes, type(None)})
_NAN: Final = "nan"


@final
class Frozen:
    """A value inside a key that is compared by `shape` instead of by itself."""

    __slots__ = ("shape", "value")

    def __init__(self, value: Any, shape: Hashable) -> None:
        self.value = value
        self.shape = shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash(self.shape)

    def __repr__(self) -> str:
        return repr(self.value)


@final
class ArgumentBinder:
    """Turns the arguments of one method into keys and back.

    The values of a call are a tuple with one item per parameter: defaults are applied, `*args` is a
    tuple and `**kwargs` a tuple of its items sorted by name. So the spelling of a call doesn't matter.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], *, is_method: bool, key: Callable[..., Hashable] | None
    ) -> None:
        self.name = name
        self.parameters: tuple[inspect.Parameter, ...] = _parameters_of(name, function, is_method=is_method)
        self.custom_key = key
        self._has_variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in self.parameters)
        self._keyword_only = [i for i, p in enumerate(self.parameters) if p.kind is p.KEYWORD_ONLY]

    @property
    def is_hot(self) -> bool:
        """Whether plain arguments identify a call, so that hits may be looked up by them."""
        return self.custom_key is None and not self._has_variadic

    def key_of(self, values: tuple[object, ...]) -> Key:
        """Return the key of a call.

        Raises:
            UnhashableArgument: If a value, or what the custom key function returns, isn't hashable.
        """
        if self.custom_key is not None:
            positional, named = self.spread(values)
            try:
                return (Frozen, Frozen(values, freeze(self.custom_key(*positional, **named))))
            except TypeError as error:
                raise UnhashableArgument(self.name, "key", type(error).__name__) from error
        if len(values) == 1:
            value = values[0]
            kind: type[object] = type(value)
            if kind in _PLAIN:
                return (kind, value)
        key: list[Any] = []
        for index, value in enumerate(values):
            kind = type(value)
            key.append(kind)
            if kind in _PLAIN:
                key.append(value)
                continue
            try:
                key.append(freeze(value))
            except TypeError:
                raise UnhashableArgument(self.name, self.parameters[index].name, kind.__name__) from None
        return tuple(key)

    def values_of(self, key: Key) -> tuple[Any, ...]:
        """Return the values of the call that `key` stands for."""
        if self.custom_key is not None:
            values: tuple[Any, ...] = key[1].value
            return values
        return tuple(part.value if type(part) is Frozen else part for part in key[1::2])

    def spread(self, values: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
        """Return values as the positional and keyword arguments of a call."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter, value in zip(self.parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                named.update(value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                positional.append(value)
        return positional, named

    @property
    def is_positional(self) -> bool:
        """Whether values are passed on as they are, by position."""
        return not self._has_variadic and not self._keyword_only

    def is_plain(self, key: Key) -> bool:
        """Whether each value in `key` stands for itself, so that equal types and values are the same call."""
        return self.custom_key is None and not any(type(part) is Frozen for part in key[1::2])


def freeze(value: object) -> Hashable:
    """Return `value`, or a `Frozen` in its place, as a part of a key.

    Raises:
        TypeError: If the value, or something in it, isn't hashable.
    """
    if isinstance(value, (tuple, frozenset)):
        items = [(type(item), freeze(item)) for item in cast(Collection[object], value)]
        kind = cast(type[object], type(value))  # pyright: ignore[reportUnknownArgumentType]
        return Frozen(cast(object, value), (kind, tuple(items) if isinstance(value, tuple) else frozenset(items)))
    if isinstance(value, float) and value != value:
        return Frozen(value, (type(value), _NAN))
    hash(value)
    return value


def _parameters_of(name: str, function: Callable[..., Any], *, is_method: bool) -> tuple[inspect.Parameter, ...]:
    parameters = tuple(inspect.signature(function).parameters.values())
    if not is_method:
        return parameters
    if not parameters or parameters[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        raise ComputeDeclarationError(name, "it has no parameter for the instance (self)")
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        raise ComputeDeclarationError(name, "its instance hides in *args; name it (self)")
    return parameters[1:]
