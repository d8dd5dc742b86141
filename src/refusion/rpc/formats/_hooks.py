"""Values of classes that msgspec doesn't know: how they travel."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, get_origin

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["WireValue", "binary_hooks", "is_wire_value", "pydantic_support", "text_hooks"]


class WireValue(ABC):
    """The base of classes whose values say themselves how they travel.

    Both methods may be called more than once for the same value, when a first attempt to write or read what it is
    part of wasn't enough: they give the same each time.
    """

    __slots__ = ()

    @abstractmethod
    def to_wire(self, *, is_text: bool) -> Any:
        """Return what stands for this value in a message: something that msgspec can write."""

    @classmethod
    @abstractmethod
    def from_wire(cls, declared: Any, value: Any, *, is_text: bool) -> Self:
        """Return the value that something in a message stands for.

        Args:
            declared: The declared type, with its type arguments.
            value: What was read.
            is_text: Whether it was read from JSON.

        Raises:
            ValueError: If it stands for no such value.
        """


def is_wire_value(declared: Any) -> bool:
    """Tell whether a declared type is a `WireValue`, perhaps with type arguments."""
    origin = get_origin(declared) or declared
    return isinstance(origin, type) and issubclass(origin, WireValue)


def pydantic_support(cls: Any) -> "ModuleType | None":
    """Return what handles pydantic models if `cls` is one; pydantic isn't loaded for the question."""
    loaded = sys.modules.get("pydantic")
    if loaded is None or not (isinstance(cls, type) and issubclass(cls, loaded.BaseModel)):
        return None
    from . import pydantic

    return pydantic


def _to_wire(value: Any, *, is_text: bool) -> Any:
    if isinstance(value, WireValue):
        return value.to_wire(is_text=is_text)
    support = pydantic_support(type(value))
    if support is not None:
        return support.to_wire(value)
    raise TypeError(f"{type(value).__qualname__} isn't a type that can be sent")


def _from_wire(declared: Any, value: Any, *, is_text: bool) -> Any:
    if declared is object:
        # Inside of another type it says as little as Any.
        return value
    if is_wire_value(declared):
        return (get_origin(declared) or declared).from_wire(declared, value, is_text=is_text)
    support = pydantic_support(declared)
    if support is not None:
        return support.from_wire(declared, value)
    raise TypeError(f"{declared} isn't a type that can be read")


Hooks = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]

binary_hooks: Final[Hooks] = (partial(_to_wire, is_text=False), partial(_from_wire, is_text=False))
"""For MessagePack: what encodes, and what decodes."""

text_hooks: Final[Hooks] = (partial(_to_wire, is_text=True), partial(_from_wire, is_text=True))
"""For JSON: what encodes, and what decodes."""
