"""Declared types that leave open what a value is: `object`, abstract classes, and lists of these."""

import inspect
from abc import ABC
from collections import abc
from collections.abc import Sequence
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Protocol, Union, cast, final, get_args, get_origin

from msgspec import Meta

from refusion.rpc._errors import RpcArgumentError

from ._hooks import is_wire_value
from ._type_names import OBJECTS, array_name, class_of, find_type, name_of

__all__ = ["Polymorphic", "is_polymorphic", "polymorphic"]


def is_polymorphic(declared: Any) -> bool:
    """Tell whether a declared type leaves open which class its values are of.

    That holds for `object`, for classes that have abstract methods or name `ABC` or `Protocol` among their bases,
    for one of these `| None`, and for lists, tuples and sequences of these. `Any` isn't meant: it travels without
    a type.
    """
    return polymorphic(declared) is not None


@lru_cache(maxsize=4_096)
def polymorphic(declared: Any) -> "Polymorphic | None":
    """Return what a declared type leaves open; None if it is a definite one."""
    plain, allows_none = _without_none(declared)
    if _is_open(plain):
        return Polymorphic(plain, None, allows_none=allows_none, items_allow_none=True)
    origin, args = get_origin(plain), get_args(plain)
    if origin in (list, abc.Sequence, abc.MutableSequence, abc.Collection) and len(args) == 1:
        container: type[Any] = list
    elif origin is tuple and len(args) == 2 and args[1] is ...:
        container = tuple
    else:
        return None
    item, items_allow_none = _without_none(args[0])
    if not _is_open(item):
        return None
    return Polymorphic(item, container, allows_none=allows_none, items_allow_none=items_allow_none)


@final
class Polymorphic:
    """A declared type that leaves open what a value is, and how to find out.

    Items of a list are all of one class, because the name that goes along is that of an array of it.
    """

    def __init__(self, base: Any, container: type[Any] | None, *, allows_none: bool, items_allow_none: bool) -> None:
        self._base: type[Any] = get_origin(base) or base
        self._container = container
        is_object = self._base is object
        self._allows_none = allows_none or (is_object and container is None)
        self._items_allow_none = items_allow_none or is_object
        self._has_own_values = not (is_object or inspect.isabstract(self._base))
        """Whether there may be values of just the declared class."""

    def type_of(self, value: Any) -> tuple[str | None, Any]:
        """Return the wire name of a value's type, None if it is the declared one; and the type to write it as.

        For None the type is None.

        Raises:
            RpcArgumentError: If the value doesn't fit, or its class has no name.
        """
        if value is None:
            self.check_null()
            return None, None
        cls = class_of(value)
        if isinstance(value, (list, tuple)) and (self._container is not None or self._base is object):
            return self._type_of_items(cast(Sequence[Any], value))
        if self._container is not None:
            raise RpcArgumentError(f"Expected `array`, got `{cls.__qualname__}`")
        self._check_class(cls)
        return (None, cls) if cls is self._base else (_name_of([value]), cls)

    def declared_type(self) -> Any:
        """Return the type to read a value as of which is said that it is of the declared one.

        Raises:
            RpcArgumentError: If no value can be of just that type.
        """
        if self._container is not None:
            return self._array_of(self._base if self._has_own_values else None)
        if not self._has_own_values:
            raise RpcArgumentError(f"nothing says what it is, and `{self._base.__qualname__}` has no values of its own")
        return self._base

    def plain_type(self) -> Any:
        """Return the type to read a value as of which nothing is said, in formats that can do without.

        Raises:
            RpcArgumentError: If no value can be of just the declared type.
        """
        if self._base is not object:
            return self.declared_type()
        return Any if self._container is None else self._array_type(Any)

    def type_named(self, name: str) -> Any:
        """Return the type to read a value as that is of a named type.

        Raises:
            RpcArgumentError: If there is no such type here, or it isn't what is declared.
        """
        found = find_type(name)
        if found is None:
            raise RpcArgumentError(f"{name[:100]!r} isn't a type that is known here; name its class with rpc_type")
        if self._base is object and found.cls is list:
            return self._array_type(Any)
        if self._base is object and self._container is None:
            return self._array_of(found.read_as) if found.is_array else found.read_as
        if found.is_array is (self._container is None):
            raise RpcArgumentError(f"{'one value' if found.is_array else 'an array'} is declared, got {name[:100]!r}")
        self._check_class(found.cls)
        if not found.is_array:
            return found.read_as
        return self._array_of(None if inspect.isabstract(found.cls) else found.read_as)

    def check_null(self) -> None:
        """Refuse null where it isn't declared."""
        if not self._allows_none:
            raise RpcArgumentError(f"Expected `{self if self._container is None else 'array'}`, got `null`")

    def __str__(self) -> str:
        return self._base.__qualname__ if self._container is None else f"{self._base.__qualname__}[]"

    def _type_of_items(self, items: Sequence[Any]) -> tuple[str | None, Any]:
        present = [item for item in items if item is not None]
        if len(present) < len(items) and not self._items_allow_none:
            raise RpcArgumentError(f"Expected `{self._base.__qualname__}`, got `null` at [{items.index(None)}]")
        for index, item in enumerate(items):
            if item is not None and type(item) is not type(present[0]):
                raise RpcArgumentError(
                    f"the items of one list are of one class, and there is a `{type(item).__qualname__}` at [{index}] "
                    f"after a `{type(present[0]).__qualname__}`; send them in several, or as a union of tagged Structs"
                )
        if not present:
            # An array of the declared type, of which there may be no value.
            return (OBJECTS if self._container is None else None), list[Any]
        cls = class_of(present[0])
        self._check_class(cls)
        name = None if cls is self._base else array_name(_name_of(present))
        return name, self._array_of(cls)

    def _array_of(self, item: Any) -> Any:
        """Return the type of an array; without an item type it is empty, but for nulls."""
        if item is None:
            only_nulls: Any = self._array_type(NoneType)
            return only_nulls if self._items_allow_none else Annotated[only_nulls, Meta(max_length=0)]
        return self._array_type(item | None if self._items_allow_none else item)

    def _array_type(self, item: Any) -> Any:
        if self._container is tuple:
            return tuple.__class_getitem__((item, ...))
        return list.__class_getitem__(item)

    def _check_class(self, cls: type[Any]) -> None:
        try:
            fits = issubclass(cls, self._base)
        except TypeError:
            # A protocol that can't be asked: whoever fulfils it has to say so.
            fits = self._base in cls.__mro__
        if not fits:
            raise RpcArgumentError(f"Expected `{self._base.__qualname__}`, got `{cls.__qualname__}`")


def _name_of(values: Sequence[Any]) -> str:
    name = name_of(values)
    if name is None:
        raise RpcArgumentError(f"`{type(values[0]).__qualname__}` has no name on the wire; give it one with rpc_type")
    return name


def _without_none(declared: Any) -> tuple[Any, bool]:
    """Return a type without annotations, aliases and `| None`, and whether it had the latter."""
    while True:
        if get_origin(declared) is Annotated:
            declared = get_args(declared)[0]
        elif type(declared).__name__ in ("NewType", "TypeAliasType"):
            declared = declared.__supertype__ if hasattr(declared, "__supertype__") else declared.__value__
        else:
            break
    if get_origin(declared) in (Union, UnionType):
        others = [arg for arg in get_args(declared) if arg is not NoneType]
        if len(others) == 1 and len(others) < len(get_args(declared)):
            return _without_none(others[0])[0], True
    return declared, False


def _is_open(declared: Any) -> bool:
    cls = get_origin(declared) or declared
    if cls is object:
        return True
    if not inspect.isclass(cls) or cls.__module__ in ("collections.abc", "typing") or is_wire_value(cls):
        return False
    return inspect.isabstract(cls) or ABC in cls.__bases__ or Protocol in cls.__bases__
