"""Compute calls on the wire: calls that stay open after their result, until it stops being true.

The callee keeps the computed behind its answer and sends `$sys-c.Invalidate` when that is invalidated. The
caller keeps the call until then, or until it no longer wants to know. An invalidation that falls into an
outage is remembered: on the next connection the caller asks about the call, and the callee tells.
"""

import inspect
from typing import TYPE_CHECKING, Any, final

from refusion.compute import ComputeMethod
from refusion.rpc import MethodDefinition, RpcCallKind, RpcContractError, RpcHub, RpcPeer, RpcRouter
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import INVALIDATE

from ._distributed import compute_entry_function
from ._inbound_compute_call import InboundComputeCall
from ._outbound_compute_call import COMPUTE_CALL_TYPE, OutboundComputeCall
from ._replica_methods import replica_method

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["ComputeCallKind"]


@final
class ComputeCallKind(RpcCallKind):
    """Compute calls, call type 1."""

    call_type = COMPUTE_CALL_TYPE
    outbound_class = OutboundComputeCall
    inbound_class = InboundComputeCall

    def __init__(self, hub: "FusionHub") -> None:
        self._hub = hub

    def claims(self, attribute: Any) -> bool:
        return isinstance(attribute, ComputeMethod)

    def check_implementation(self, method: MethodDefinition, implementation: object) -> None:
        owner = type(implementation)
        if not isinstance(inspect.getattr_static(owner, method.name), ComputeMethod):
            raise RpcContractError(
                owner.__qualname__,
                f"its {method.name} isn't a compute method, as {method.full_name} is; decorate it with "
                "@compute_method, or let the class inherit from the contract",
            )

    def client_method(self, hub: RpcHub, method: MethodDefinition, target: RpcPeer | RpcRouter) -> Any:
        return replica_method(self._hub, method, target)

    def entry_method(self, hub: RpcHub, method: MethodDefinition, implementation: Any, router: RpcRouter) -> Any:
        return compute_entry_function(hub, method, implementation, router)

    def system_methods(self) -> dict[str, Any]:
        return {INVALIDATE: _on_invalidate}


def _on_invalidate(peer: RpcPeer, message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if isinstance(call, OutboundComputeCall):
        call.invalidated()
