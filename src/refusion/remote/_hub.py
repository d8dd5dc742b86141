"""`FusionHub`: a hub whose clients keep what they were told, until they are told that it has changed."""

import inspect
from ssl import SSLContext
from typing import Any, TypeVar

from refusion.compute import ComputeMethod
from refusion.rpc import ErrorFilter, MethodDefinition, RpcContractError, RpcHub, RpcLimits, RpcPeer, RpcRouter
from refusion.rpc.protocol import DEFAULT_VERSIONS
from refusion.rpc.transports import Network

from ._compute_calls import COMPUTE_CALL_TYPE, ComputeCallKind
from ._replicas import remote_compute_method

__all__ = ["FusionHub"]

C = TypeVar("C")


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
    ) -> None:
        """Create a hub; see `RpcHub` for the arguments and errors."""
        super().__init__(
            transport=transport,
            format=format,
            limits=limits,
            error_filter=error_filter,
            versions=versions,
            require_reconnect_proof=require_reconnect_proof,
            ssl=ssl,
        )
        self.add_call_kind(ComputeCallKind())

    def add_service(self, contract: type[C], implementation: C) -> None:
        definition = self.table.define(contract)
        definition.check_implementation(implementation)
        for method in definition.methods.values():
            attribute = inspect.getattr_static(type(implementation), method.name)
            if method.kind == COMPUTE_CALL_TYPE and not isinstance(attribute, ComputeMethod):
                raise RpcContractError(
                    type(implementation).__qualname__,
                    f"its {method.name} isn't a compute method, as {method.full_name} is; decorate it with "
                    "@compute_method, or let the class inherit from the contract",
                )
        super().add_service(contract, implementation)

    def kind_of(self, attribute: Any) -> int:
        return COMPUTE_CALL_TYPE if isinstance(attribute, ComputeMethod) else 0

    def _proxy_attribute(self, method: MethodDefinition, target: RpcPeer | RpcRouter) -> Any:
        if method.kind == COMPUTE_CALL_TYPE:
            return remote_compute_method(self, method, target)
        return super()._proxy_attribute(method, target)
