"""`compute_method`: the decorator, and the descriptor that it leaves in the class."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Hashable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from ._async_method import AsyncMethod
from ._binding import BoundTable, InstanceCaches, retained
from ._bound import BoundMethod
from ._consolidation import ConsolidatingAsyncMethod, ConsolidatingSyncMethod
from ._errors import ComputeDeclarationError
from ._graph import graph_lock
from ._hot_py import MethodTemplate
from ._inheritance import has_subclasses, watch_subclasses
from ._keys import ArgumentBinder
from ._options import CancellationRetries, ComputedOptions, ResolvedOptions
from ._sync_method import SyncMethod
from ._types import BoundAsyncMethod, BoundSyncMethod

__all__ = ["AsyncComputeMethod", "ComputeMethod", "ComputeMethodDecorator", "SyncComputeMethod", "compute_method"]

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    _Descriptor = object
else:
    # A property's getter is called from C. A descriptor with a `__get__` in Python would cost more than
    # all the rest of a cached hit.
    _Descriptor = property


class ComputeMethod(_Descriptor):
    """The definition of a compute method, which is what a class that declares one has in its attribute.

    On an instance the attribute is a function with the method's signature and the attributes `invalidate`,
    `capture` and `existing`. Overrides in subclasses are compute methods with the same options, unless
    they are decorated themselves.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: ComputedOptions,
        key: Callable[..., Hashable] | None = None,
        *,
        is_method: bool = True,
        is_invalidated_by_calls: bool = True,
    ) -> None:
        self.name: str = function.__qualname__
        """The qualified name, for people."""
        self.function = function
        """What was decorated."""
        self.declared_options = options
        """The options as declared."""
        self.is_async: bool = inspect.iscoroutinefunction(function)
        """Whether calls are awaited."""
        self.is_invalidated_by_calls = is_invalidated_by_calls
        """Whether a call in `invalidating()` invalidates; replicas are invalidated by their server alone."""
        self.binder: ArgumentBinder = ArgumentBinder(self.name, function, is_method=is_method, key=key)
        self.template: MethodTemplate = MethodTemplate(function.__name__, self.binder, is_async=self.is_async)
        self._options: ResolvedOptions | None = None
        self._owner: type | None = None
        self._may_be_fast = True
        self._caches = InstanceCaches()
        self._bound = BoundTable(self)
        self._bound_by_id: dict[int, Callable[..., Any]] = {}
        functools.update_wrapper(cast(Any, self), function)
        self._set_getter(self._bind_slowly)
        _mark_coroutine_function(self, function)

    @property
    def options(self) -> ResolvedOptions:
        """The options with every default filled in, as of the first use."""
        if self._options is None:
            self._options = self.declared_options.resolve()
        return self._options

    @property
    def __isabstractmethod__(self) -> bool:
        return getattr(self.function, "__isabstractmethod__", False)

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        if owner.__module__ == self.function.__module__:
            self.name = f"{owner.__qualname__}.{name}"
        watch_subclasses(owner)

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"{self.name} is a compute method and can't be assigned; override it in a subclass")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method as `Class.method(instance, ...)`."""
        if not args or not self._is_instance(args[0]):
            raise ComputeDeclarationError(
                self.name,
                "it was called without its instance; apply @compute_method to a plain method, not below "
                "@staticmethod or @classmethod",
            )
        return self.bind(args[0])(*args[1:], **kwargs)

    def __repr__(self) -> str:
        return f"<ComputeMethod {self.name}>"

    def bind(self, instance: Any) -> Callable[..., Any]:
        """Return the function that calls this method of `instance`; the same one while it is in use."""
        with graph_lock:
            existing = self._bound_by_id.get(id(instance))
            if existing is not None and existing.__self__ is instance:  # type: ignore[attr-defined]
                return existing
            cache = self._caches.get(instance)
            bound = self._create_bound(instance, cache)
            function = self._create_function(bound)
            if bound.hold is not None and instance is not None:
                self._retain(instance, function, bound)
            return function

    def bind_function(self) -> Callable[..., Any]:
        """Return the function for a compute function that belongs to no class."""
        return self._create_function(self._create_bound(None, self._caches.get(self)))

    def be_slow(self) -> None:
        """Look up bound functions in the way that works for every class, from now on."""
        if self._may_be_fast:
            self._may_be_fast = False
            self._set_getter(self._bind_slowly)

    def with_function(self, function: Callable[..., Any]) -> "ComputeMethod":
        """Return a definition for an override of this method, with the same options."""
        if inspect.iscoroutinefunction(function) != self.is_async:
            kind = "async def" if self.is_async else "def"
            raise ComputeDeclarationError(
                function.__qualname__, f"it overrides {self.name}, so it must be `{kind}`, too"
            )
        check_function(function)
        return type(self)(
            function,
            self.declared_options,
            self.binder.custom_key,
            is_invalidated_by_calls=self.is_invalidated_by_calls,
        )

    def _create_bound(self, instance: Any, cache: Any) -> BoundMethod:
        if self.options.must_consolidate:
            return (ConsolidatingAsyncMethod if self.is_async else ConsolidatingSyncMethod)(self, instance, cache)
        return (AsyncMethod if self.is_async else SyncMethod)(self, instance, cache)

    def _create_function(self, bound: BoundMethod) -> Callable[..., Any]:
        function = self.template.create(bound.cache.hot.get, bound.call, bound.hold)
        original = self.function
        function.__qualname__ = original.__qualname__
        function.__module__ = original.__module__
        function.__doc__ = original.__doc__
        function.__annotations__ = original.__annotations__
        function.__dict__.update(
            invalidate=bound.invalidate,
            capture=cast(Any, bound).capture,
            existing=bound.existing,
            bound_method=bound,
            __wrapped__=bound._body,
            __self__=bound.instance,
        )
        return function

    def _retain(self, instance: Any, function: Callable[..., Any], bound: BoundMethod) -> None:
        if self._may_be_fast and _compares_by_identity(type(instance)):
            owner: type[object] = type(instance)  # pyright: ignore[reportUnknownVariableType]
            if owner is self._owner and not has_subclasses(owner):
                self._set_getter(self._bound.__getitem__)
            self._bound[instance] = function
        self._bound_by_id[id(instance)] = function
        retained.add((id(self), id(instance)), functools.partial(self._release, instance), bound.cache)

    def _release(self, instance: Any) -> None:
        with graph_lock:
            self._bound_by_id.pop(id(instance), None)
            if _compares_by_identity(type(instance)):
                self._bound.pop(instance, None)

    def _bind_slowly(self, instance: Any) -> Callable[..., Any]:
        function = self._bound_by_id.get(id(instance))
        # A function that is kept holds its instance, so the number can't be that of another one.
        return function if function is not None else self.bind(instance)

    def _set_getter(self, getter: Callable[[Any], Any]) -> None:
        if not TYPE_CHECKING:
            property.__init__(self, getter, None, None, self.function.__doc__)
            # From 3.13 on a property has a name of its own, and takes the getter's.
            self.__name__ = self.function.__name__

    def _is_instance(self, instance: object) -> bool:
        if self._owner is not None:
            return isinstance(instance, self._owner)
        # Behind another decorator, `__set_name__` isn't called.
        owner = self.function.__qualname__.rpartition(".")[0]
        return any(base.__qualname__ == owner for base in type(instance).__mro__)


class AsyncComputeMethod(ComputeMethod, Generic[P, T]):
    """The definition of an asynchronous compute method."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> BoundAsyncMethod[P, T]: ...
        def __get__(self, instance: object, owner: type | None = None) -> Any: ...
        def __call__(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]: ...
        def invalidate(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
            """Invalidate the result of this call; for functions that belong to no class."""

        def capture(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> "Coroutine[Any, Any, Computed[T]]":
            """Return an awaitable of the computed behind this call; for functions that belong to no class."""
            ...

        def existing(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> "Computed[T] | None":
            """Return what is registered for this call; for functions that belong to no class."""


class SyncComputeMethod(ComputeMethod, Generic[P, T]):
    """The definition of a synchronous compute method."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> BoundSyncMethod[P, T]: ...
        def __get__(self, instance: object, owner: type | None = None) -> Any: ...
        def __call__(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
        def invalidate(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
            """Invalidate the result of this call; for functions that belong to no class."""

        def capture(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> "Computed[T]":
            """Return the computed behind this call; for functions that belong to no class."""
            ...

        def existing(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> "Computed[T] | None":
            """Return what is registered for this call; for functions that belong to no class."""


class ComputeMethodDecorator(Protocol):
    """`compute_method` with options."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine is a value, too
        self, function: Callable[[], Coroutine[Any, Any, T]], /
    ) -> BoundAsyncMethod[[], T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /
    ) -> AsyncComputeMethod[P, T]: ...
    @overload
    def __call__(self, function: Callable[[], T], /) -> BoundSyncMethod[[], T]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], T], /) -> SyncComputeMethod[P, T]: ...


@overload
def compute_method(  # type: ignore[overload-overlap]  # a coroutine is a value, too
    function: Callable[[], Coroutine[Any, Any, T]], /
) -> BoundAsyncMethod[[], T]: ...
@overload
def compute_method(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /
) -> AsyncComputeMethod[P, T]: ...
@overload
def compute_method(function: Callable[[], T], /) -> BoundSyncMethod[[], T]: ...
@overload
def compute_method(function: Callable[Concatenate[Any, P], T], /) -> SyncComputeMethod[P, T]: ...
@overload
def compute_method(
    *,
    key: Callable[..., Hashable] | None = None,
    keep_alive: float | None = None,
    min_cache_duration: float | None = None,
    transient_error_invalidation_delay: float | None = None,
    non_transient_error_invalidation_delay: float | None = None,
    auto_invalidation_delay: float | None = None,
    invalidation_delay: float | None = None,
    consolidation_delay: float | None = None,
    consolidation_comparer: Callable[[Any, Any], bool] | None = None,
    cancellation_retries: CancellationRetries | None = None,
    client_cache: bool | None = None,
) -> ComputeMethodDecorator: ...
def compute_method(
    function: Callable[..., Any] | None = None, /, *, key: Callable[..., Hashable] | None = None, **options: Any
) -> Any:
    """Make a method or function remember its results, and tell when they stop being true.

    Calls with the same arguments (however they are spelled) share one result until it is invalidated. What
    a body calls and uses, also in tasks and threads that it starts with its context, becomes a dependency:
    when that is invalidated, so is the result. Concurrent calls share one computation; cancelling one
    caller doesn't disturb another. An error is a result, too, and cached for a while.

    An `async def` gives an asynchronous compute method; a `def` gives a synchronous one, whose calls
    return the value itself.

    Args:
        function: The method or module-level function. Generators, properties, static and class methods
            can't be compute methods.
        key: Takes the arguments of a call (without the instance) and returns something hashable that
            identifies it; for methods with unhashable arguments.
        **options: The fields of `ComputedOptions`.

    Raises:
        ComputeDeclarationError: If the function can't be a compute method.
        ValueError: If an option is negative or NaN.
        TypeError: If there is no such option.
    """
    resolved = ComputedOptions(**options)
    if resolved.consolidation_comparer is not None and resolved.consolidation_delay is None:
        raise TypeError("consolidation_comparer needs a consolidation_delay (0 consolidates at once)")
    if function is None:
        return functools.partial(_define, resolved, key)
    return _define(resolved, key, function)


def _define(options: ComputedOptions, key: Callable[..., Hashable] | None, function: Callable[..., Any]) -> Any:
    check_function(function)
    is_async = inspect.iscoroutinefunction(function)
    kind: type[ComputeMethod] = AsyncComputeMethod[..., Any] if is_async else SyncComputeMethod[..., Any]
    is_method = _is_declared_in_class(function)
    method: ComputeMethod = kind(function, options, key, is_method=is_method)
    return method if is_method else method.bind_function()


def check_function(function: Any) -> None:
    """Refuse what can't be a compute method, telling why."""
    if isinstance(function, ComputeMethod) or hasattr(function, "bound_method"):
        raise ComputeDeclarationError(getattr(function, "__qualname__", "it"), "it is one already; decorate it once")
    for kind in (staticmethod, classmethod, property):
        if isinstance(function, cast(Any, kind)):
            inner = getattr(function, "__func__", None) or getattr(function, "fget", None)
            problem = f"it is a {kind.__name__}; decorate a plain method or a module-level function"
            raise ComputeDeclarationError(getattr(inner, "__qualname__", "it"), problem)
    if not isinstance(function, FunctionType):
        raise ComputeDeclarationError(repr(function), "it isn't a function declared with def or async def")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ComputeDeclarationError(
            function.__qualname__, "it is a generator, whose items can be used only once; return a tuple of them"
        )


def _is_declared_in_class(function: Callable[..., Any]) -> bool:
    scope = function.__qualname__.rpartition(".")[0]
    return bool(scope) and not scope.endswith("<locals>")


def _compares_by_identity(owner: Any) -> bool:
    return owner.__eq__ is object.__eq__ and owner.__hash__ is object.__hash__


def _mark_coroutine_function(method: Any, function: Callable[..., Any]) -> None:
    if not inspect.iscoroutinefunction(function):
        return
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(method)
        return
    # For asyncio the marker will do; inspect on 3.11 looks at the code of what looks like a function.
    method._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    function = cast(FunctionType, function)
    method.__code__ = function.__code__
    method.__defaults__ = function.__defaults__
    method.__kwdefaults__ = function.__kwdefaults__


if TYPE_CHECKING:
    from ._computed import Computed
