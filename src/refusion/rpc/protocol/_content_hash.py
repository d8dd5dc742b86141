"""The hash by which a caller's cached value is compared with the value here, without sending either."""

import hashlib
from base64 import b64encode
from typing import Final

__all__ = ["HASH_HEADER", "content_hash"]

HASH_HEADER: Final = "#"
"""The header with the hash of what the caller has, empty if that is nothing; and with the hash of what is sent."""

_BYTES: Final = 18


def content_hash(data: bytes) -> str:
    """Return the hash of the argument data of a result: the first 18 bytes of its SHA-256, as 24 letters of base64."""
    return b64encode(hashlib.sha256(data).digest()[:_BYTES]).decode("ascii")
