"""What becomes of compute methods in subclasses.

An override of a compute method is a compute method with the same options, also if it isn't decorated.
To see overrides, the class that declares a compute method gets an `__init_subclass__` which calls the
one that was there.
"""

import functools
from types import FunctionType
from typing import Any

__all__ = ["has_subclasses", "watch_subclasses"]

_MARK = "_refusion_watches_subclasses"


def watch_subclasses(owner: type) -> None:
    """Turn overrides in all later subclasses of `owner` into compute methods."""
    original: Any = owner.__dict__.get("__init_subclass__")
    if hasattr(getattr(original, "__func__", None), _MARK):
        return

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        if original is not None:
            original.__get__(None, cls)(**kwargs)
        else:
            # Not `owner`: a class decorator may have made the class anew.
            watching: Any = next(base for base in cls.__mro__ if _is_watched_by(base, init_subclass))
            super(watching, cls).__init_subclass__(**kwargs)  # pyright: ignore[reportUnknownMemberType]
        adopt_overrides(cls)

    if original is not None:
        functools.update_wrapper(init_subclass, original.__func__)
    setattr(init_subclass, _MARK, True)
    # Not an assignment to the attribute: to type checkers that is a method.
    type.__setattr__(owner, "__init_subclass__", classmethod(init_subclass))


def _is_watched_by(base: type, hook: Any) -> bool:
    return getattr(base.__dict__.get("__init_subclass__"), "__func__", None) is hook


def adopt_overrides(cls: type) -> None:
    """Make compute methods of the plain functions in `cls` that override one."""
    from ._method import ComputeMethod

    inherited: dict[str, ComputeMethod] = {}
    for base in reversed(cls.__mro__[1:]):
        for name, attribute in vars(base).items():
            if isinstance(attribute, ComputeMethod):
                inherited[name] = attribute
                # An instance of the subclass may not be hashable, or compare equal to another one.
                attribute.be_slow()
            elif name in inherited:
                del inherited[name]
    for name, method in inherited.items():
        override = vars(cls).get(name)
        if isinstance(override, FunctionType) and not hasattr(override, "bound_method"):
            adopted = method.with_function(override)
            setattr(cls, name, adopted)
            adopted.__set_name__(cls, name)


def has_subclasses(owner: type) -> bool:
    """Tell whether any class inherits from `owner`."""
    return bool(type.__subclasses__(owner))
