"""What stands for a stream in a message: who has it, under which number, and how it flows."""

from typing import Any, Final, Self

import msgspec

__all__ = ["DEFAULT_BATCH_SIZE", "MAX_BATCH_SIZE", "MAX_POSITION", "NO_HOST", "StreamReference"]

NO_HOST: Final = "00000000-0000-0000-0000-000000000000"
"""The host in a plain acknowledgement; one that names a host is a reset: start, or go on, at this position."""

MAX_BATCH_SIZE: Final = 1_024
"""The most items in one message: a receiver takes no more."""

DEFAULT_BATCH_SIZE: Final = 64
"""Few enough that the first item of a batch doesn't wait long for the last one."""

MAX_POSITION: Final = 2**63 - 1
"""A position that no stream reaches; as an acknowledgement it means that the consumer is done."""

_MAX_WINDOW: Final = 2**31 - 1
_FIELDS: Final = ("SerializedId", "AckPeriod", "AckAdvance", "AllowReconnect", "IsRealTime")


class StreamReference(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as it travels inside of values. Both sides flow by the same numbers."""

    host_id: str
    """The id of the peer object that shares the stream, as it stands in that side's handshakes."""

    local_id: int
    """Its number there; streams are numbered apart from calls."""

    ack_period: int = 30
    """After how many consumed items the consumer says how far it is."""

    ack_advance: int = 61
    """The window: how many items the producer may send beyond what was acknowledged."""

    allow_reconnect: bool = True
    """Whether it goes on over a new connection with the same peer."""

    is_real_time: bool = False
    """Whether the producer may leave out items when the consumer lags."""

    def to_text(self) -> str:
        """Return the form of text formats."""
        flags = f"{int(self.allow_reconnect)},{int(self.is_real_time)}"
        return f"{self.host_id},{self.local_id},{self.ack_period},{self.ack_advance},{flags}"

    def to_map(self) -> dict[str, Any]:
        """Return the form of MessagePack."""
        values = ([self.host_id, self.local_id], self.ack_period, self.ack_advance)
        return dict(zip(_FIELDS, (*values, self.allow_reconnect, self.is_real_time), strict=True))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the form of text formats; the two flags may be missing.

        Raises:
            ValueError: If it can't be read.
        """
        parts = text.split(",", 6)
        if not 4 <= len(parts) <= 6:
            raise ValueError("a stream's reference has 4 to 6 parts with commas between them")
        host_id, local_id, ack_period, ack_advance, *flags = parts
        return cls._checked(
            host_id=host_id,
            local_id=int(local_id),
            ack_period=int(ack_period),
            ack_advance=int(ack_advance),
            allow_reconnect=not flags or flags[0] != "0",
            is_real_time=flags[1:] == ["1"],
        )

    @classmethod
    def from_map(cls, value: Any) -> Self:
        """Read the form of MessagePack; the order of the keys means nothing, and the numbers may be missing.

        Raises:
            ValueError: If it can't be read.
        """
        if not isinstance(value, dict):
            raise ValueError(f"a stream's reference is a map, not {type(value).__name__}")
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        match fields.get("SerializedId"):
            case [str(host_id), int(local_id), *_] if local_id is not True:
                pass
            case _:
                raise ValueError("a stream's reference has as its SerializedId a list of a host's id and a number")
        return cls._checked(
            host_id=host_id,
            local_id=local_id,
            ack_period=fields.get("AckPeriod", 30),
            ack_advance=fields.get("AckAdvance", 61),
            allow_reconnect=fields.get("AllowReconnect", True) is not False,
            is_real_time=fields.get("IsRealTime", False) is True,
        )

    @classmethod
    def _checked(cls, *, local_id: int, ack_period: Any, ack_advance: Any, **fields: Any) -> Self:
        if not 0 < local_id <= MAX_POSITION:
            raise ValueError(f"a stream has a number from 1 to {MAX_POSITION}")
        for name, number in (("AckPeriod", ack_period), ("AckAdvance", ack_advance)):
            if type(number) is not int or not 0 < number <= _MAX_WINDOW:
                raise ValueError(f"{name} of a stream's reference must be a number from 1 to {_MAX_WINDOW}")
        return cls(local_id=local_id, ack_period=ack_period, ack_advance=ack_advance, **fields)
