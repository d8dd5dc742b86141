"""Compute calls on the wire: calls that stay open after their result, until it stops being true.

The callee keeps the computed behind its answer and sends `$sys-c.Invalidate` when that is invalidated. The
caller keeps the call until then, or until it no longer wants to know. An invalidation that falls into an
outage is remembered: on the next connection the caller asks about the call, and the callee tells.
"""

from typing import Any, final

from refusion.rpc import RpcCallKind, RpcPeer
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import INVALIDATE

from ._inbound_compute_call import InboundComputeCall
from ._outbound_compute_call import COMPUTE_CALL_TYPE, OutboundComputeCall

__all__ = ["ComputeCallKind"]


@final
class ComputeCallKind(RpcCallKind):
    """Compute calls, call type 1."""

    call_type = COMPUTE_CALL_TYPE
    outbound_class = OutboundComputeCall
    inbound_class = InboundComputeCall

    def system_methods(self) -> dict[str, Any]:
        return {INVALIDATE: _on_invalidate}


def _on_invalidate(peer: RpcPeer, message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if isinstance(call, OutboundComputeCall):
        call.invalidated()
