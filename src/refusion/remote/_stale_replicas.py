"""Replicas that are shown while their server can't be asked, until it can."""

from contextvars import Context
from typing import Any, Final, final
from weakref import WeakKeyDictionary, WeakSet

from refusion.compute import Computed, InvalidationSource
from refusion.rpc import RpcClientPeer

__all__ = ["CAN_BE_ASKED_AGAIN", "StaleReplicas"]

CAN_BE_ASKED_AGAIN: Final = InvalidationSource("its server can be asked again")


@final
class StaleReplicas:
    """Invalidates replicas with values of before an outage when that is over, so that they are asked for anew."""

    def __init__(self) -> None:
        self._by_peer: WeakKeyDictionary[RpcClientPeer, WeakSet[Computed[Any]]] = WeakKeyDictionary()

    def add(self, replica: Computed[Any], peer: RpcClientPeer) -> None:
        """Invalidate a replica when there is a link again, or there won't be one any more."""
        replicas = self._by_peer.get(peer)
        if replicas is None:
            replicas = self._by_peer[peer] = WeakSet()
            peer.spawn(self._wait(peer), name="end of an outage", context=Context())
        replicas.add(replica)

    async def _wait(self, peer: RpcClientPeer) -> None:
        try:
            while not peer.is_connected and not peer.is_closing:
                await peer.wait_state_change()
        finally:
            for replica in list(self._by_peer.pop(peer, ())):
                replica.invalidate(immediately=True, source=CAN_BE_ASKED_AGAIN)
