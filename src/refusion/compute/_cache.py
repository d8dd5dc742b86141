"""The results of one compute method of one service."""

import weakref
from typing import TYPE_CHECKING, Any, Final, final

from ._graph import graph_lock
from ._keys import Key
from ._registry import registry

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["MethodCache", "raw_of"]

_MIN_OPERATIONS: Final = 1_024


@final
class MethodCache:
    """Finds results by key, without holding them, and hot ones by their plain arguments, holding them.

    The hot table is what makes a hit cheap: it has only consistent values that are being held anyway, so
    finding one there is all a call needs to know.
    """

    __slots__ = ("__weakref__", "hot", "operations", "prune_at", "table")

    def __init__(self) -> None:
        self.table: dict[Key, weakref.ref[Computed[Any]]] = {}
        self.hot: dict[Any, Any] = {}
        self.operations = 0
        """How many results were registered."""
        self.prune_at = _MIN_OPERATIONS
        """At how many operations to look for what collected results have left behind."""
        registry()._caches.add(self)

    def find(self, key: Key) -> "Computed[Any] | None":
        """Return the registered computed, in any state, or None."""
        ref = self.table.get(key)
        return None if ref is None else ref()

    def replace_dead(self, key: Key, dead: "weakref.ref[Computed[Any]]", ref: "weakref.ref[Computed[Any]]") -> bool:
        """Put `ref` in the place of one whose computed was collected; returns whether that was possible."""
        with graph_lock:
            if dead() is not None or self.table.get(key) is not dead:
                return False
            self.table[key] = ref
            return True

    def cool_down(self, key: Key, computed: "Computed[Any]") -> None:
        """Take `computed` out of the hot table; the caller holds the lock."""
        raw = raw_of(key)
        hit = self.hot.get(raw)
        if hit is not None and hit.computed is computed:
            del self.hot[raw]

    def prune(self) -> int:
        """Sweep out the entries of collected results; the caller holds the lock."""
        dead = [key for key, ref in list(self.table.items()) if ref() is None]
        for key in dead:
            del self.table[key]
        self.prune_at = self.operations + max(_MIN_OPERATIONS, 2 * len(self.table))
        registry()._pruned_keys += len(dead)
        return len(dead)

    def live(self) -> "list[Computed[Any]]":
        """Return the registered computed that exist now."""
        return [computed for ref in list(self.table.values()) if (computed := ref()) is not None]


def raw_of(key: Key) -> Any:
    """Return what the hot table knows a call by: its argument, or the tuple of its arguments."""
    return key[1] if len(key) == 2 else key[1::2]
