"""Counting what clients and servers do, and the reasons that they had.

Three things are bounded, each by the one before:

- The service computes a value when it has none that is true: the first time in each life of the server, after the one
  before was invalidated, or after it was let go because nobody held it any more. So, for each life,
  `computations <= values + invalidated + collected`.
- A client makes a replica of a value when it has none that is true: the first time, or after the one before is gone.
  That happens when the server has invalidated the value, once for each invalidation there; when the client finds
  another server, once for each replica that it has; when the replica is an error and that expires; when the read that
  was fetching it is given up, one for each such read; when it was shown from a cache and isn't what the server says, or
  the server couldn't say it; and when it is let go. So, for each client,
  `replicas <= first reads + invalidations of these values + changes of the server * first reads + errors expired
  + reads cancelled + shown in vain + collected`.
- A replica costs one call at most, and another one for each that ends without a result: the server has cancelled it, or
  the result was stale before it came. So `calls <= replicas + retries`. What a reconnect sends again is the same call,
  under its id, and isn't counted twice.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, final

from refusion.compute import ComputationCancelled, Computed, InvalidationSource, registry
from refusion.remote._outbound_compute_call import COMPUTE_CALL_TYPE, InvalidatedBeforeResult
from refusion.remote._refresh import UNCONFIRMED
from refusion.remote._stale_replicas import CAN_BE_ASKED_AGAIN
from refusion.rpc import OutboundContext, Proceed, RpcCallCancelled, RpcClientPeer

__all__ = ["ClientCounts", "ConsistencyCounts", "ServiceCounts"]

_SHOWN_IN_VAIN: Final = (InvalidationSource.REPLACED, UNCONFIRMED, CAN_BE_ASKED_AGAIN)
"""Why replicas that were shown from a cache, or during an outage, are invalidated by their clients."""


class _ResultCounts:
    """The results of the compute methods of one instance, be it a service or the client of one."""

    def __init__(self, instance: object) -> None:
        # Held, so that no other instance is taken for it.
        self.instance = instance
        self.created = 0
        self.invalidated = 0
        self.collected = 0
        self.keys: set[Any] = set()
        self._live: dict[int, weakref.ref[Computed[Any]]] = {}

    def registered(self, computed: Computed[Any], key: Any) -> None:
        self.created += 1
        self.keys.add(key)
        version = computed.version
        self._live[version] = weakref.ref(computed, partial(self._collected, version))

    def unregistered(self, computed: Computed[Any], key: Any) -> None:
        if self._live.pop(computed.version, None) is not None:
            self.invalidated += 1

    def _collected(self, version: int, _: object) -> None:
        if self._live.pop(version, None) is not None:
            self.collected += 1


@final
class ServiceCounts(_ResultCounts):
    """What one life of the service has computed."""

    def __init__(self, instance: object, told: Counter[Any]) -> None:
        super().__init__(instance)
        self._told = told

    def unregistered(self, computed: Computed[Any], key: Any) -> None:
        super().unregistered(computed, key)
        self._told[key] += 1

    @property
    def bound(self) -> int:
        """How many computations there were reasons for."""
        return len(self.keys) + self.invalidated + self.collected


@final
class ClientCounts(_ResultCounts):
    """What one client has fetched."""

    def __init__(self, instance: object, peer: RpcClientPeer) -> None:
        super().__init__(instance)
        self._peer = peer
        self._servers: set[str] = set()
        self.expired = 0
        self.shown_in_vain = 0
        self.calls = 0
        self.retries = 0
        self.reads = 0
        self.cancelled_reads = 0

    def unregistered(self, computed: Computed[Any], key: Any) -> None:
        super().unregistered(computed, key)
        if computed.has_error and not isinstance(computed.error, ComputationCancelled):
            self.expired += 1
        if computed.invalidation_source in _SHOWN_IN_VAIN:
            self.shown_in_vain += 1
        handshake = self._peer._handshake
        if handshake is not None and handshake.remote_peer_id:
            # When replicas are invalidated for the change of the server, this is the new one already.
            self._servers.add(handshake.remote_peer_id)

    async def count_call(self, call: OutboundContext, proceed: Proceed) -> Any:
        """Stand around each call that the client makes."""
        if call.method.kind != COMPUTE_CALL_TYPE:
            return await proceed()
        self.calls += 1
        try:
            return await proceed()
        except (InvalidatedBeforeResult, RpcCallCancelled):
            self.retries += 1
            raise

    def bound(self, told: Counter[Any]) -> int:
        """Return how many replicas there were reasons for; `told` is how often each value was invalidated."""
        first_reads = len(self.keys)
        by_server = sum(told[key] for key in self.keys) + len(self._servers) * first_reads
        return first_reads + by_server + self.expired + self.cancelled_reads + self.shown_in_vain + self.collected


@final
class ConsistencyCounts:
    """Watches the registry for the clients and the lives of the service of one run."""

    def __init__(self) -> None:
        self.clients: list[ClientCounts] = []
        self.services: list[ServiceCounts] = []
        self._told: Counter[Any] = Counter()
        self._by_id: dict[int, _ResultCounts] = {}
        self._unsubscribe: list[Callable[[], None]] = [
            registry().on_register(self._registered),
            registry().on_unregister(self._unregistered),
        ]

    def close(self) -> None:
        """Watch no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def add_service(self, service: object) -> None:
        """Watch another life of the service."""
        counts = ServiceCounts(service, self._told)
        self.services.append(counts)
        self._by_id[id(service)] = counts

    def add_client(self, client: object, peer: RpcClientPeer) -> ClientCounts:
        """Watch a client."""
        counts = ClientCounts(client, peer)
        self.clients.append(counts)
        self._by_id[id(client)] = counts
        return counts

    @property
    def remote_calls(self) -> int:
        """How many compute calls were made."""
        return sum(client.calls for client in self.clients)

    @property
    def calls_bound(self) -> int:
        """How many compute calls there were reasons for."""
        return sum(client.created + client.retries for client in self.clients)

    @property
    def replicas(self) -> int:
        """How many replicas were begun."""
        return sum(client.created for client in self.clients)

    @property
    def replicas_bound(self) -> int:
        """How many replicas there were reasons for."""
        return sum(client.bound(self._told) for client in self.clients)

    @property
    def computations(self) -> int:
        """How many results the service has computed."""
        return sum(service.created for service in self.services)

    @property
    def computations_bound(self) -> int:
        """How many computations there were reasons for."""
        return sum(service.bound for service in self.services)

    def _registered(self, computed: Computed[Any]) -> None:
        counts = self._counts_of(computed)
        if counts is not None:
            counts.registered(computed, _key_of(computed))

    def _unregistered(self, computed: Computed[Any]) -> None:
        counts = self._counts_of(computed)
        if counts is not None:
            counts.unregistered(computed, _key_of(computed))

    def _counts_of(self, computed: Computed[Any]) -> _ResultCounts | None:
        return self._by_id.get(id(getattr(computed._function, "instance", None)))


def _key_of(computed: Computed[Any]) -> Any:
    """Return what the call is told from others by: the same for a value and for replicas of it."""
    function: Any = computed._function
    return function.method.function.__name__, computed._key
