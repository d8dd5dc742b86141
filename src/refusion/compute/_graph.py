"""The dependency graph: its lock, and its edges.

One lock guards the state of every computed and every edge. No code of a user runs under it. It is
re-entrant because the garbage collector may run at any allocation, also inside of a locked block.

A dependant holds its dependencies strongly, so that holding a value holds all it was made from. A
dependency knows its dependants weakly. Most computed have none or one, so the set is made for the second.
"""

import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, final

from ._errors import ComputedNotReady
from ._state import COMPUTING, INVALIDATED

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = [
    "DependantSet",
    "Dependants",
    "acquire_graph_lock",
    "add_dependency",
    "graph_lock",
    "iter_dependants",
    "live_dependants",
    "release_graph_lock",
    "remove_dependant",
]

graph_lock: Final = threading.RLock()

# For the hottest paths, where a `with` statement would cost as much as what it guards.
acquire_graph_lock: Final = graph_lock.acquire
release_graph_lock: Final = graph_lock.release


@final
class DependantSet(set["weakref.ref[Computed[Any]]"]):
    """Two or more dependants; sweeps out collected ones whenever it has doubled."""

    __slots__ = ("prune_at",)

    def __init__(self, *items: "weakref.ref[Computed[Any]]") -> None:
        super().__init__(items)
        self.prune_at = 16

    def prune(self) -> int:
        """Drop dependants that were collected; returns how many."""
        dead = [ref for ref in self if ref() is None]
        self.difference_update(dead)
        self.prune_at = max(16, 2 * len(self))
        return len(dead)


Dependants = None | weakref.ref["Computed[Any]"] | DependantSet


def add_dependency(dependant: "Computed[Any]", dependency: "Computed[Any]") -> None:
    """Record that the running computation of `dependant` has used `dependency`.

    Does nothing when the computation is over: only what was used in time counts. Using an invalidated
    dependency invalidates the dependant as soon as it is done.

    Raises:
        ComputedNotReady: If the dependency is still computing.
    """
    with graph_lock:
        if dependant._state is not COMPUTING:
            return
        state = dependency._state
        if state is COMPUTING:
            raise ComputedNotReady(repr(dependency))
        if state is INVALIDATED:
            dependant._request_invalidation(dependency._source_for_dependants(), immediately=False)
            return
        ref = weakref.ref(dependant)
        dependants = dependency._dependants
        if dependants is None or (type(dependants) is weakref.ref and dependants() is None):
            dependency._dependants = ref
        elif type(dependants) is DependantSet:
            if ref in dependants:
                return
            if len(dependants) >= dependants.prune_at:
                dependants.prune()
            dependants.add(ref)
        elif dependants is ref:
            return
        else:
            dependency._dependants = DependantSet(dependants, ref)
        if dependant._dependencies is None:
            dependant._dependencies = [dependency]
        else:
            dependant._dependencies.append(dependency)


def remove_dependant(dependency: "Computed[Any]", ref: "weakref.ref[Computed[Any]]") -> None:
    """Forget a dependant; the caller holds the lock."""
    dependants = dependency._dependants
    if dependants is ref:
        dependency._dependants = None
    elif type(dependants) is DependantSet:
        dependants.discard(ref)


def iter_dependants(dependants: "weakref.ref[Computed[Any]] | DependantSet") -> "Iterator[weakref.ref[Computed[Any]]]":
    """Iterate over the references to dependants that nobody else knows any more."""
    return iter(dependants if isinstance(dependants, DependantSet) else (dependants,))


def live_dependants(dependants: Dependants) -> "list[Computed[Any]]":
    """Return those dependants that still exist."""
    if dependants is None:
        return []
    refs = dependants if type(dependants) is DependantSet else (dependants,)
    return [computed for ref in refs if (computed := ref()) is not None]
