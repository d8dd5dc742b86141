"""`PeerState`: a link as a person sees it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, final

__all__ = ["PeerState", "PeerStateKind"]


class PeerStateKind(Enum):
    """How a link is doing, and whether that is news."""

    JUST_CONNECTED = "just connected"
    CONNECTED = "connected"
    JUST_DISCONNECTED = "just disconnected"
    DISCONNECTED = "disconnected"


_PHRASES: Final = {
    PeerStateKind.JUST_CONNECTED: "Just connected.",
    PeerStateKind.CONNECTED: "Connected.",
    PeerStateKind.JUST_DISCONNECTED: "Just disconnected, reconnecting...",
}


@final
@dataclass(frozen=True, slots=True, eq=False)
class PeerState:
    """The state of a link at one moment, for a UI.

    States are equal if they look the same: errors count by their type and text, because each attempt to connect
    fails with an error of its own.
    """

    kind: PeerStateKind
    """How the link is doing."""

    last_error: Exception | None = None
    """Why there is no link; None while there is one."""

    reconnects_in: float = 0.0
    """Seconds until the next attempt to connect, if that is worth counting down; 0 if it runs or is about to."""

    has_given_up: bool = False
    """Whether no attempt is planned, because the server refuses this client or the peer was closed."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a link."""
        return self.kind in (PeerStateKind.CONNECTED, PeerStateKind.JUST_CONNECTED)

    @property
    def is_likely_connected(self) -> bool:
        """Whether there is a link, or one was lost so recently that it is probably back in a moment."""
        return self.kind is not PeerStateKind.DISCONNECTED

    def describe(self, use_last_error: bool = False) -> str:
        """Return one sentence for the user.

        Args:
            use_last_error: Whether it tells why, while there is no link and no attempt to connect.
        """
        if self.kind is not PeerStateKind.DISCONNECTED:
            return _PHRASES[self.kind]
        if self.reconnects_in == 0 and not self.has_given_up:
            return "Reconnecting..."
        reason = str(self.last_error).strip() if use_last_error and self.last_error is not None else ""
        if not reason:
            return "Disconnected."
        return f"Disconnected: {reason}" if reason.endswith((".", "!", "?")) else f"Disconnected: {reason}."

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerState) and self._look == other._look

    def __hash__(self) -> int:
        return hash(self._look)

    @property
    def _look(self) -> tuple[object, ...]:
        return self.kind, self.reconnects_in, self.has_given_up, type(self.last_error), str(self.last_error)
