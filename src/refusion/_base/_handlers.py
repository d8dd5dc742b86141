"""Those who want to be told of something, as often as it happens."""

from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar, final

from ._logging import log_failure

__all__ = ["Handlers"]

T = TypeVar("T")


@final
class Handlers(Generic[T]):
    """Called in the order they came, on behalf of nobody; what one raises is logged and hides nothing from others."""

    __slots__ = ("_handlers", "_what")

    def __init__(self, what: str) -> None:
        """Create an empty list; `what` names the kind of its handlers in the log."""
        self._what = what
        self._handlers: dict[object, Callable[[T], object]] = {}

    def add(self, handler: Callable[[T], object]) -> Callable[[], None]:
        """Call `handler` from now on; returns what takes that back."""
        key = object()
        self._handlers[key] = handler
        return lambda: self._handlers.pop(key, None) and None

    def tell(self, subject: T) -> None:
        """Call all that there are, but those that an earlier one has taken back."""
        for key, handler in tuple(self._handlers.items()):
            if key in self._handlers:
                try:
                    Context().run(handler, subject)
                except Exception:
                    log_failure(self._what, handler)
