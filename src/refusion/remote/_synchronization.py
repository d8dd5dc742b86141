"""Which replicas are unsynchronized: shown from a cache, and not confirmed by their server yet."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, final
from weakref import WeakKeyDictionary, WeakValueDictionary

from refusion._aio._signal import Signal
from refusion._aio._wait_first import wait_first
from refusion.compute import Computed, ComputedInput
from refusion.rpc import RpcClientPeer

__all__ = ["ReplicaSource", "Synchronization", "Synchronizations"]


@final
class Synchronization:
    """The wait for the server's word about one call; those replicas that are shown until then share it."""

    __slots__ = ("__weakref__", "done", "is_delayed", "peer")

    def __init__(self, peer: RpcClientPeer) -> None:
        self.peer: RpcClientPeer = peer
        """Who is to say it."""
        self.is_delayed: bool = False
        """Whether it isn't asked at once."""
        self.done: Signal = Signal()


class ReplicaSource(ABC):
    """A compute function whose results are replicas."""

    __slots__ = ()

    @abstractmethod
    def synchronization_of(self, replica: Computed[Any]) -> Synchronization | None:
        """Return what an unsynchronized replica waits for; None if it is synchronized."""


@final
class Synchronizations:
    """The unsynchronized replicas of one hub. Changed in the loop of the hub, read in any thread."""

    def __init__(self, *, are_delayed: bool) -> None:
        self._are_delayed = are_delayed
        self._by_input: WeakValueDictionary[ComputedInput, Synchronization] = WeakValueDictionary()
        self._by_replica: WeakKeyDictionary[Computed[Any], Synchronization] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[tuple[Computed[Any], Synchronization]]:
        """Iterate over those that are consistent, so that they are what callers get."""
        for replica, synchronization in list(self._by_replica.items()):
            if replica.is_consistent and not synchronization.done.is_set:
                yield replica, synchronization

    def begin(self, replica: Computed[Any], peer: RpcClientPeer) -> None:
        """Note that a replica isn't confirmed yet."""
        synchronization = self._by_input.get(replica.input)
        if synchronization is None:
            synchronization = self._by_input[replica.input] = Synchronization(peer)
        synchronization.peer = peer
        synchronization.is_delayed = self._are_delayed
        self._by_replica[replica] = synchronization

    def end(self, replica: Computed[Any]) -> None:
        """Note that the server has said what is true: a replica and those in whose place it is are synchronized."""
        synchronization = self._by_input.pop(replica.input, None)
        if synchronization is not None:
            synchronization.done.set()

    def find(self, replica: Computed[Any]) -> Synchronization | None:
        """Return what an unsynchronized replica waits for; None if it is synchronized."""
        synchronization = self._by_replica.get(replica)
        return None if synchronization is None or synchronization.done.is_set else synchronization

    async def wait(self) -> None:
        """Wait until those replicas that are unsynchronized now are confirmed, or aren't shown any more."""
        for replica, synchronization in list(self):
            await wait_first(synchronization.done.wait(), replica.wait_invalidated())
