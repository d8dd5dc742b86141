"""What a compute call means where it is made: compute, invalidate, look up, capture, or stay apart.

The context in force *when the call is made* decides. Contexts flow into tasks and threads started
inside a scope, as context variables do; once the scope is left, or the computation is done, such a
leaked copy is inert and the call counts as made outside of any scope.
"""

from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Self, final

from ._source import InvalidationSource, caller_source

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = [
    "CallContext",
    "CaptureContext",
    "ComputeContext",
    "ExistingContext",
    "InvalidatingContext",
    "IsolatedContext",
    "ScopeToken",
    "computing_ancestors",
    "current_context",
    "enter",
    "invalidating",
    "is_invalidating",
    "isolated",
]


class CallContext:
    """The base of all contexts; `parent` is the one around it."""

    __slots__ = ("parent",)

    def __init__(self, parent: "CallContext | None") -> None:
        self.parent: CallContext | None = parent


@final
class ComputeContext(CallContext):
    """Calls are made by the body of `computed` and become its dependencies, until it is done."""

    __slots__ = ("computed", "depth")

    def __init__(self, computed: "Computed[Any]", parent: CallContext | None) -> None:
        self.parent = parent
        self.computed: Computed[Any] | None = computed
        self.depth: int = parent.depth + 1 if type(parent) is ComputeContext else 1
        """How many computations are nested in one task, this one included."""


class _Scope(CallContext):
    __slots__ = ("is_active",)

    def __init__(self, parent: CallContext | None) -> None:
        super().__init__(parent)
        self.is_active = True


@final
class InvalidatingContext(_Scope):
    """Calls invalidate what they would return."""

    __slots__ = ("source",)

    def __init__(self, parent: CallContext | None, source: InvalidationSource) -> None:
        super().__init__(parent)
        self.source = source


class CaptureContext(_Scope):
    """The computed behind the last call made here, not inside of bodies, is remembered."""

    __slots__ = ("captured",)

    def __init__(self, parent: CallContext | None) -> None:
        super().__init__(parent)
        self.captured: Computed[Any] | None = None


@final
class ExistingContext(CaptureContext):
    """Calls compute nothing; what is cached for them is remembered."""

    __slots__ = ()


@final
class IsolatedContext(_Scope):
    """Calls are made for nobody: they become no dependencies."""

    __slots__ = ()


current_context: ContextVar[CallContext | None] = ContextVar("refusion_compute_context", default=None)


class ScopeToken:
    """Puts a context in force and takes it back, tolerating an exit in a foreign context."""

    __slots__ = ("_token",)

    def __init__(self, context: CallContext) -> None:
        self._token: Token[CallContext | None] = current_context.set(context)

    def exit(self) -> None:
        """Restore what was in force before."""
        try:
            current_context.reset(self._token)
        except ValueError:
            # The scope is left in another task than it was entered in, as when a generator is closed by
            # the garbage collector; there is nothing of ours to restore there.
            pass


enter = ScopeToken


def computing_ancestors(context: CallContext | None) -> Iterator["Computed[Any]"]:
    """Yield the computations around a call, innermost first, that are still running."""
    while context is not None:
        if type(context) is ComputeContext and context.computed is not None:
            yield context.computed
        context = context.parent


class _ScopeManager:
    """A `with` block that puts a context in force."""

    __slots__ = ("_context", "_token")

    def __init__(self) -> None:
        self._context: _Scope | None = None
        self._token: ScopeToken | None = None

    def _create(self) -> _Scope:
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._token is not None:
            raise RuntimeError(f"this {type(self).__name__}() is in use already; make a new one for each `with`")
        self._context = self._create()
        self._token = ScopeToken(self._context)
        return self

    def __exit__(self, *_: object) -> None:
        if self._context is not None and self._token is not None:
            self._context.is_active = False
            self._token.exit()
        self._context = self._token = None


@final
class invalidating(_ScopeManager):  # noqa: N801  # used like a function, as contextlib's managers are
    """A scope in which compute calls invalidate their results instead of computing them.

    The call has done its work when it returns, so it needs no `await`; its result is None. Where nothing
    is cached, nothing happens.

    Example:
        ```python
        with invalidating():
            self.get(key)
            self.list_keys()
        ```
    """

    __slots__ = ("_source",)

    def __init__(self, source: InvalidationSource | str | None = None) -> None:
        super().__init__()
        if source is None:
            source = caller_source(1)
        self._source = InvalidationSource(source) if isinstance(source, str) else source

    def _create(self) -> InvalidatingContext:
        return InvalidatingContext(current_context.get(), self._source)


@final
class isolated(_ScopeManager):  # noqa: N801  # used like a function, as contextlib's managers are
    """A scope in which compute calls are made for nobody: they compute, but become no dependencies."""

    __slots__ = ()

    def _create(self) -> IsolatedContext:
        return IsolatedContext(current_context.get())


def is_invalidating() -> bool:
    """Tell whether the caller runs inside an `invalidating()` scope."""
    context = current_context.get()
    return type(context) is InvalidatingContext and context.is_active
