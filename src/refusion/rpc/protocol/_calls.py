"""Call tables: which calls are open, and what becomes of them when the link is lost and found again."""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar, final

from refusion.rpc._errors import RpcProtocolError

from ._leb128 import ids_from_bytes, ids_to_bytes
from ._limits import MAX_IDS

__all__ = ["CallStage", "InboundCalls", "InboundEntry", "OutboundCalls", "OutboundEntry", "Reconciliation"]


class CallStage(IntEnum):
    """How far an open call has come."""

    WAITING = 0
    """There is no result yet."""

    RESULT_READY = 1
    """The result is there; an invalidation may follow."""


_FIRST_ID: Final = 1


class OutboundEntry(Protocol):
    """A call that this side has made."""

    id: int
    stage: CallStage
    is_sent: bool
    """Whether it was ever put on a link; one that wasn't is just sent, whatever has happened."""
    may_reconnect: bool
    """Whether it may outlive its connection."""
    may_resend: bool
    """Whether it may be sent again, to a peer that has forgotten it."""


class InboundEntry(Protocol):
    """A call that the other side has made."""

    id: int
    method: str
    call_type: int


O = TypeVar("O", bound=OutboundEntry)  # noqa: E741
I = TypeVar("I", bound=InboundEntry)  # noqa: E741


@final
class Reconciliation(Generic[O]):
    """What to do with the open calls on a new connection: send, invalidate, or fail them."""

    __slots__ = ("failed", "invalidated", "resent")

    def __init__(self) -> None:
        self.resent: list[O] = []
        """Send these, with their ids."""
        self.invalidated: list[O] = []
        """Their results are there, but the other side won't tell when they become stale."""
        self.failed: list[O] = []
        """They may not be sent again."""


@final
class OutboundCalls(Generic[O]):
    """The calls that this side has made and that aren't over. Ids start at 1 and are never used again."""

    def __init__(self) -> None:
        self._calls: dict[int, O] = {}
        self._next_id = _FIRST_ID

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[O]:
        return iter(list(self._calls.values()))

    @property
    def added_count(self) -> int:
        """How many calls were registered so far."""
        return self._next_id - _FIRST_ID

    def add(self, call: O) -> None:
        """Register a call and give it its id."""
        call.id = self._next_id
        self._next_id += 1
        self._calls[call.id] = call

    def get(self, call_id: int) -> O | None:
        """Return the open call with this id; None means that a late or repeated answer is to be ignored."""
        return self._calls.get(call_id)

    def remove(self, call_id: int) -> O | None:
        """End a call; returns it if it was open."""
        return self._calls.pop(call_id, None)

    @property
    def has_waiting(self) -> bool:
        """Whether there is a call without a result."""
        waiting = CallStage.WAITING
        return any(call.stage is waiting for call in reversed(self._calls.values()))

    def stages(self) -> dict[int, bytes]:
        """Return the ids of all sent calls by stage, as `$sys.Reconnect` asks the other side about them."""
        by_stage: dict[int, list[int]] = {}
        for call in self._calls.values():
            if call.is_sent and call.may_reconnect:
                by_stage.setdefault(int(call.stage), []).append(call.id)
        return {stage: ids_to_bytes(sorted(ids)) for stage, ids in sorted(by_stage.items())}

    def link_lost(self) -> list[O]:
        """Return the calls that can't outlive their connection."""
        return [call for call in self._calls.values() if call.is_sent and not call.may_reconnect]

    def waiting_to_be_sent(self) -> list[O]:
        """Return the calls that were made while there was no link."""
        return [call for call in self._calls.values() if not call.is_sent]

    def same_peer_answered(self, unknown: bytes, asked: Iterable[int]) -> Reconciliation[O]:
        """Say what to do when the same peer has told which of the calls `asked` about it doesn't know.

        What else it names isn't touched: a call that was made since then must not be run twice.

        Raises:
            RpcProtocolError: If the list of ids can't be read.
        """
        own = dict.fromkeys(asked)
        # Not all ids in a set: numbers can be chosen so that making it would take hours.
        named = {call_id for call_id in ids_from_bytes(unknown) if call_id in own}
        return self._reconcile(call_id for call_id in own if call_id in named)

    def same_peer_refused(self, asked: Iterable[int]) -> Reconciliation[O]:
        """Say what to do when the same peer couldn't tell: as if it knew none of the calls `asked` about."""
        return self._reconcile(asked)

    def peer_changed(self) -> Reconciliation[O]:
        """Say what to do when the other side has forgotten everything."""
        return self._reconcile(call.id for call in list(self._calls.values()) if call.is_sent)

    def _reconcile(self, unknown: Iterable[int]) -> Reconciliation[O]:
        outcome: Reconciliation[O] = Reconciliation()
        for call_id in unknown:
            call = self._calls.get(call_id)
            if call is None:
                continue
            if call.stage is CallStage.RESULT_READY:
                outcome.invalidated.append(call)
            elif call.may_resend:
                outcome.resent.append(call)
            else:
                outcome.failed.append(call)
        return outcome


@final
class InboundCalls(Generic[I]):
    """The calls of the other side that aren't over; what comes again under the same id isn't run again."""

    def __init__(self) -> None:
        self._calls: dict[int, I] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[I]:
        return iter(list(self._calls.values()))

    def get(self, call_id: int) -> I | None:
        """Return the open call with this id."""
        return self._calls.get(call_id)

    def add(self, call: I) -> None:
        """Register a call; calls with id 0 expect no answer, and are told apart by nothing."""
        if call.id != 0:
            self._calls[call.id] = call

    def remove(self, call: I) -> None:
        """End a call."""
        if self._calls.get(call.id) is call:
            del self._calls[call.id]

    def clear(self) -> list[I]:
        """End all calls and return them."""
        calls, self._calls = list(self._calls.values()), {}
        return calls

    def reconnect(self, stages: Mapping[int, bytes]) -> tuple[bytes, list[tuple[I, int]]]:
        """Answer the other side's `$sys.Reconnect`.

        Args:
            stages: Its open calls: ids by stage.

        Returns:
            The ids that aren't known here, as they are sent; and the known calls, each once, with the stage
            that the other side has it in.

        Raises:
            RpcProtocolError: If a list of ids can't be read, or there are more than `MAX_IDS`.
        """
        unknown: list[int] = []
        known: dict[int, tuple[I, int]] = {}
        count = 0
        for stage, data in stages.items():
            ids = ids_from_bytes(data)
            count += len(ids)
            if count > MAX_IDS:
                raise RpcProtocolError(f"lists of more than {MAX_IDS:,} ids")
            for call_id in ids:
                call = self._calls.get(call_id)
                if call is None:
                    unknown.append(call_id)
                else:
                    known[call_id] = (call, stage)
        return ids_to_bytes(sorted(unknown)), list(known.values())
