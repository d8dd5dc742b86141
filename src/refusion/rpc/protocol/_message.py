"""A message: the unit of the protocol, whatever format it travels in."""

import msgspec

__all__ = ["Headers", "RpcMessage"]

Headers = tuple[tuple[str, str], ...]


class RpcMessage(msgspec.Struct, frozen=True, gc=False):
    """One message, with its arguments still in the encoding of the format."""

    method: str
    """The wire name of the method, as `Service.Method:2`; empty if only its hash is known."""

    related_id: int = 0
    """The id of a new call, of the call that is answered, or of a stream; 0 where none is meant."""

    call_type: int = 0
    """0 for a regular call, 1 for a compute call; 2 to 7 are reserved."""

    args: bytes = b""
    """The argument data."""

    headers: Headers = ()
    """Names and values that go along."""

    method_hash: int | None = None
    """The hash of a method that the receiver doesn't know, in compact formats."""
