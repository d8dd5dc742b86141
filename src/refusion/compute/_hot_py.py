"""The path of a cached hit, in Python.

For each compute method a function with exactly its signature is generated, as `dataclasses` does for
`__init__`: Python itself then applies defaults and checks argument names, and a hit is one dict lookup.
For `async def get(self, key: str)` it reads:

    def get(key):
        try:
            hit = hot_get(key)
        except TypeError:
            hit = None
        if hit is None or type(key) is not hit.kind or current() is not None:
            return call(key)
        hit.epoch = hold.epoch
        return hit

The lookup is by the plain argument; `kind` keeps `1`, `True` and `1.0` apart. Inside of computations and
scopes, where a call means something else, `current()` isn't None and the slow path decides.
"""

import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, Final, cast, final

from ._context import current_context
from ._keys import ArgumentBinder

__all__ = ["MethodTemplate", "kind_of"]

_CO_COROUTINE: Final = inspect.CO_COROUTINE
_PREFIXES: Final[dict[Any, str]] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def kind_of(raw: object, count: int) -> Any:
    """Return what a call's arguments have to match besides being equal: their type, or types."""
    return type(raw) if count == 1 else tuple(map(type, cast(tuple[object, ...], raw)))


@final
class MethodTemplate:
    """Makes the callables of one compute method."""

    def __init__(self, name: str, binder: ArgumentBinder, *, is_async: bool) -> None:
        self._name = name if name.isidentifier() else "compute"
        self._binder = binder
        self._is_async = is_async
        self._defaults = tuple(
            p.default if p.default is not inspect.Parameter.empty else None for p in binder.parameters
        )
        self._make = self._compile(self._source())
        self.pack: Callable[..., tuple[Any, ...]] = self._compile_pack()
        """Takes the arguments of a call, spelled in any way, and returns its values."""

    def create(self, hot_get: Callable[[Any], Any], call: Callable[..., Any], hold: Any) -> Callable[..., Any]:
        """Return the function that callers of a bound compute method call.

        Args:
            hot_get: Looks up a hit by plain arguments.
            call: Handles everything but hits; takes the values of the call by position.
            hold: The hold queue, whose epoch hits note; None if results aren't held.
        """
        function: Callable[..., Any] = self._make(hot_get, call, current_context.get, hold, self._defaults)
        if self._is_async and sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(function)
        return function

    def _source(self) -> str:
        names = [f"{p.name}" for p in self._binder.parameters]
        call = f"return __call({self._values()})"
        if not self._binder.is_hot:
            body = [call]
        else:
            body = [
                "try:",
                f"    __hit = __hot_get({self._raw(names)})",
                "except TypeError:",
                "    __hit = None",
                f"if __hit is None or {self._mismatch(names)}__current() is not None:",
                f"    {call}",
                "__hit.epoch = __hold.epoch",
                "return __hit" if self._is_async else "return __hit.value",
            ]
        lines = [f"def {self._name}({self._signature()}):", *(f"    {line}" for line in body)]
        return _maker("__hot_get, __call, __current, __hold, __defaults", lines, self._name)

    @staticmethod
    def _raw(names: list[str]) -> str:
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    @staticmethod
    def _mismatch(names: list[str]) -> str:
        if not names:
            return ""
        if len(names) == 1:
            return f"type({names[0]}) is not __hit.kind or "
        return f"({', '.join(f'type({name})' for name in names)}) != __hit.kind or "

    def _values(self) -> str:
        return ", ".join(
            f"tuple(sorted({p.name}.items()))" if p.kind is p.VAR_KEYWORD else p.name for p in self._binder.parameters
        )

    def _signature(self) -> str:
        parts: list[str] = []
        parameters = self._binder.parameters
        for index, parameter in enumerate(parameters):
            previous = parameters[index - 1].kind if index else None
            if previous is parameter.POSITIONAL_ONLY and parameter.kind is not parameter.POSITIONAL_ONLY:
                parts.append("/")
            if parameter.kind is parameter.KEYWORD_ONLY and previous not in (
                parameter.KEYWORD_ONLY,
                parameter.VAR_POSITIONAL,
            ):
                parts.append("*")
            prefix = _PREFIXES.get(parameter.kind, "")
            has_default = parameter.default is not parameter.empty
            parts.append(f"{prefix}{parameter.name}" + (f"=__defaults[{index}]" if has_default else ""))
        if parameters and parameters[-1].kind is inspect.Parameter.POSITIONAL_ONLY:
            parts.append("/")
        return ", ".join(parts)

    def _compile_pack(self) -> Callable[..., tuple[Any, ...]]:
        values = self._values()
        lines = [f"def {self._name}({self._signature()}):", f"    return ({values}{',' if values else ''})"]
        make = self._compile(_maker("__defaults", lines, self._name), is_coroutine=False)
        function: Callable[..., tuple[Any, ...]] = make(self._defaults)
        return function

    def _compile(self, source: str, *, is_coroutine: bool = True) -> Callable[..., Any]:
        code = _code_of(source, f"<compute method {self._binder.name}>")
        if is_coroutine and self._is_async and sys.version_info < (3, 12):
            code = _mark_coroutine(code)
        namespace: dict[str, Any] = {}
        exec(code, namespace)  # noqa: S102  # generated right above from the signature alone
        make: Callable[..., Any] = namespace["make"]
        return make


@lru_cache(maxsize=1_024)
def _code_of(source: str, name: str) -> CodeType:
    # Each client of a contract has methods of its own, of the same source.
    return compile(source, name, "exec")


def _maker(parameters: str, lines: list[str], name: str) -> str:
    return "\n".join([f"def make({parameters}):", *(f"    {line}" for line in lines), f"    return {name}"])


def _mark_coroutine(code: CodeType) -> CodeType:
    """Make `iscoroutinefunction` true for the generated function.

    Python 3.12 has `inspect.markcoroutinefunction` for this. On 3.11 `inspect` knows nothing but the flag
    of the code object, which the interpreter itself looks at only when it creates a coroutine.
    """
    consts = tuple(_mark_inner(const) if isinstance(const, CodeType) else const for const in code.co_consts)
    return code.replace(co_consts=consts)


def _mark_inner(make: CodeType) -> CodeType:
    consts = tuple(
        const.replace(co_flags=const.co_flags | _CO_COROUTINE) if isinstance(const, CodeType) else const
        for const in make.co_consts
    )
    return make.replace(co_consts=consts)
