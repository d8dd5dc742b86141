"""Values of classes that msgspec doesn't know: how they travel."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Self, get_origin

__all__ = ["WireValue", "binary_hooks", "text_hooks"]


class WireValue(ABC):
    """The base of classes whose values say themselves how they travel."""

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


def _to_wire(value: Any, *, is_text: bool) -> Any:
    if isinstance(value, WireValue):
        return value.to_wire(is_text=is_text)
    raise TypeError(f"{type(value).__qualname__} isn't a type that can be sent")


def _from_wire(declared: Any, value: Any, *, is_text: bool) -> Any:
    origin = get_origin(declared) or declared
    if isinstance(origin, type) and issubclass(origin, WireValue):
        return origin.from_wire(declared, value, is_text=is_text)
    raise TypeError(f"{declared} isn't a type that can be read")


Hooks = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]

binary_hooks: Final[Hooks] = (partial(_to_wire, is_text=False), partial(_from_wire, is_text=False))
"""For MessagePack: what encodes, and what decodes."""

text_hooks: Final[Hooks] = (partial(_to_wire, is_text=True), partial(_from_wire, is_text=True))
"""For JSON: what encodes, and what decodes."""
