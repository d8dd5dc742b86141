"""How a client proves that it is the one that had connected before.

The server gives each client peer a secret in its handshake; each later connection attempt carries a growing
counter and its HMAC-SHA256 under that secret.
"""

import base64
import hashlib
import hmac
import secrets

__all__ = ["create_secret", "is_valid_proof", "reconnect_proof"]


def create_secret() -> str:
    """Return a new secret: 32 random bytes in base64url."""
    return secrets.token_urlsafe(32)


def reconnect_proof(secret: str, client_id: str, counter: str) -> str:
    """Return the proof for one connection attempt; the counter is signed as the text it is sent as."""
    digest = hmac.new(secret.encode(), f"{client_id}\n{counter}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_valid_proof(secret: str, client_id: str, counter: str, proof: str, last_counter: int) -> bool:
    """Tell whether a proof is right, and its counter larger than the last one that was accepted."""
    if not (counter.isascii() and counter.isdigit() and counter[0] != "0" and len(counter) < 20):
        return False
    if int(counter) >= 1 << 63:
        return False
    expected = reconnect_proof(secret, client_id, counter)
    return hmac.compare_digest(expected.encode(), proof.encode()) and int(counter) > last_counter
