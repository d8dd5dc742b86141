"""`FusionHub`: a hub whose clients keep what they were told, until they are told that it has changed."""

from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext
from typing import Any, TypeVar

from refusion.rpc import (
    ErrorFilter,
    MethodDefinition,
    RpcHub,
    RpcLimits,
)
from refusion.rpc.protocol import DEFAULT_VERSIONS
from refusion.rpc.transports import Network

from ._compute_calls import ComputeCallKind
from ._encoded_values import EncodedValues
from ._known_values import KnownValues
from ._stale_replicas import StaleReplicas
from ._synchronization import Synchronizations
from .caches import ClientCache

__all__ = ["FusionHub"]

C = TypeVar("C")

RefreshDelayer = Callable[[MethodDefinition, Sequence[Any]], Awaitable[object]]
"""Waits, given a method and its arguments, before a server is asked about a value that was found in the cache."""


class FusionHub(RpcHub):
    """An `RpcHub` that knows compute methods.

    The compute methods of a service are answered with values that the client may keep: the server tells when
    they stop being true. On a client of this hub they are compute methods, too: a value is fetched once,
    served locally while it is consistent, may be depended on, and is invalidated by the server.

    Example:
        ```python
        async with FusionHub() as hub:
            stocks = hub.client(StockApi, "ws://localhost:8080")
            computed = await stocks.get_price.capture("AAPL")
            async for c in computed.changes():
                print(f"New price: {c.value}")
        ```
    """

    def __init__(
        self,
        *,
        transport: Network | str | None = None,
        format: str = "msgpack6c",
        limits: RpcLimits | None = None,
        error_filter: ErrorFilter | None = None,
        versions: str = DEFAULT_VERSIONS,
        require_reconnect_proof: bool = False,
        ssl: SSLContext | None = None,
        cache: ClientCache | None = None,
        refresh_delayer: RefreshDelayer | None = None,
    ) -> None:
        """Create a hub; see `RpcHub` for the other arguments and errors.

        In `cache` its clients keep what they were told. What they find there is shown at once, and the server is asked
        whether it is true. It is opened when it is first needed, and closed with the hub. `refresh_delayer` waits
        before the server is asked, so that what a client needs first comes first; by default it is asked at once.

        Raises:
            TypeError: If `cache` is something else, as the path of one.
        """
        if not (cache is None or isinstance(cache, ClientCache)):
            raise TypeError(f"a hub has a ClientCache, as SqliteCache({str(cache)!r}), not {cache!r}")
        super().__init__(
            transport=transport,
            format=format,
            limits=limits,
            error_filter=error_filter,
            versions=versions,
            require_reconnect_proof=require_reconnect_proof,
            ssl=ssl,
        )
        self.refresh_delayer: RefreshDelayer | None = refresh_delayer
        """What waits before the server is asked about a value from the cache."""
        version = f"{self.client_format.key} {versions}"
        self.known_values: KnownValues | None = None if cache is None else KnownValues(self, cache, version)
        """What is known of values from before; None without a cache."""
        self.synchronizations: Synchronizations = Synchronizations(are_delayed=refresh_delayer is not None)
        """The replicas that their servers haven't confirmed yet."""
        self.stale_replicas: StaleReplicas = StaleReplicas()
        """The replicas that are shown until their servers can be asked again."""
        self.encoded_values: EncodedValues = EncodedValues()
        """What was told to clients not long ago, as it was sent."""
        self.add_call_kind(ComputeCallKind(self))

    async def synchronized(self) -> None:
        """Wait until all that was shown from the cache so far is confirmed by its server, or isn't shown any more.

        Without a link that takes until there is one; put `asyncio.timeout` around it to wait not so long. Cancelling
        leaves nothing behind.
        """
        await self.synchronizations.wait()

    async def _close(self, drain_seconds: float) -> None:
        await super()._close(drain_seconds)
        if self.known_values is not None:
            await self.known_values.aclose()
