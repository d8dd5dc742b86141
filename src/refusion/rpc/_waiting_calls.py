"""Calls that wait for a link, or for one that takes more."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, final

from ._outbound_call import OutboundCall
from .protocol._calls import CallStage, OutboundCalls

__all__ = ["WaitingCalls"]

_SPARE: Final = 64
"""How many calls that are over may be among them, before it is worth looking for those."""


@final
class WaitingCalls(OrderedDict[int, OutboundCall]):
    """Calls by their ids, in the order in which they are to be sent; some may be over already."""

    def add(self, call: OutboundCall, outbound: OutboundCalls[OutboundCall]) -> None:
        """Let a call wait behind the others; `outbound` has those that aren't over."""
        self[call.id] = call
        if len(self) > 2 * len(outbound) + _SPARE:
            # Most of them were given up since: nobody else takes them out during an outage.
            for number in [number for number, waiting in self.items() if outbound.get(number) is not waiting]:
                del self[number]

    def put_first(self, calls: Iterable[OutboundCall]) -> None:
        """Let calls wait before the others."""
        for call in reversed(list(calls)):
            self[call.id] = call
            self.move_to_end(call.id, last=False)

    def take_first(self, outbound: OutboundCalls[OutboundCall]) -> OutboundCall | None:
        """Take out the first one; returns None if it is over, or has its result."""
        _, call = self.popitem(last=False)
        return call if outbound.get(call.id) is call and call.stage is CallStage.WAITING else None
