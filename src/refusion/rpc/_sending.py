"""What stands behind outbound middleware: making the call."""

from typing import Any

from ._call_context import OutboundContext
from ._routed_calls import send_along
from ._tracing import with_trace
from .protocol._content_hash import HASH_HEADER

__all__ = ["send_call"]


async def send_call(context: OutboundContext) -> Any:
    """Make a call as middleware has left it, and return its result.

    Raises:
        Exception: What the method has raised, or why it couldn't be called.
    """
    peer, method = context.peer, context.method
    headers = with_trace(_with_hash(context.headers, context.known_hash))
    if method.is_no_wait:
        return await peer.send_no_wait(method, context.arguments, headers)
    call = peer.start(method, context.arguments, headers, started_at=context.started_at)
    if context.prepare is not None:
        context.prepare(call)
    context.call = call
    return await (call.wait() if context.route is None else send_along(context.route, call))


def _with_hash(headers: dict[str, str], known_hash: str | None) -> dict[str, str]:
    """Return headers with this hash or none, also if middleware has passed on those of another call."""
    if known_hash is not None:
        return {**headers, HASH_HEADER: known_hash}
    if HASH_HEADER in headers:
        return {name: value for name, value in headers.items() if name != HASH_HEADER}
    return headers
