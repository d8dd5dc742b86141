"""What values look like on the wire, so that a value that many clients ask for is written and hashed once."""

from collections import OrderedDict
from typing import Any, Final, final

from refusion.compute import Computed
from refusion.rpc import MethodDefinition, RpcPeer
from refusion.rpc.protocol._content_hash import content_hash

__all__ = ["EncodedValue", "EncodedValues"]

_MIN_BYTES: Final = 1_024
"""A smaller one is written as fast as it is found."""

_MAX_BYTES: Final = 8 * 1024 * 1024
"""How much is kept at most, for each hub."""


@final
class EncodedValue:
    """The argument data of an answer, and its content hash once somebody wants it."""

    __slots__ = ("_hash", "data")

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self._hash: str | None = None

    @property
    def hash(self) -> str:
        """The content hash of the data."""
        if self._hash is None:
            self._hash = content_hash(self.data)
        return self._hash


@final
class EncodedValues:
    """Keeps the latest of them; those that weren't asked for the longest go first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[tuple[int, str, str], EncodedValue] = OrderedDict()
        self._size = 0

    def get(self, peer: RpcPeer, method: MethodDefinition, computed: Computed[Any]) -> EncodedValue:
        """Return what tells a peer of a value.

        Raises:
            RpcArgumentError: If it can't be written.
            RpcLimitExceeded: If it is too large for a message.
        """
        # A computed never changes, and its version is that of no other.
        key = (computed.version, method.wire_name, peer.format.key)
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
            return value
        value = EncodedValue(peer.encode_result(method, computed.value))
        if _MIN_BYTES <= len(value.data) <= self._max_bytes:
            self._values[key] = value
            self._size += len(value.data)
            while self._size > self._max_bytes:
                _, oldest = self._values.popitem(last=False)
                self._size -= len(oldest.data)
        return value
