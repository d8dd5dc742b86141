"""What becomes of open calls on a new connection.

The same other side is asked, by `$sys.Reconnect`, which of the calls it knows: it still answers those, and gets
the others again under their ids. Another one, as a restarted server, knows none of them.
"""

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from refusion._base._logging import logger

from ._answers import error_data
from ._contract import MethodDefinition
from ._errors import RpcDisconnected, RpcError
from ._limits import RpcCallTimeouts
from ._outbound_call import OutboundCall
from .protocol._calls import Reconciliation
from .protocol._handshake import Handshake, PeerChange
from .protocol._message import RpcMessage
from .protocol._system_calls import ERROR, OK

if TYPE_CHECKING:
    from ._link import Link
    from ._peer import RpcPeer

__all__ = ["answer_reconnect", "resume_calls"]


def resume_calls(peer: "RpcPeer", link: "Link", handshake: Handshake, change: PeerChange) -> None:
    """Settle the calls in both directions that were open on the connection before."""
    if change is PeerChange.CHANGED:
        for inbound in peer.inbound.clear():
            inbound.cancel()
        _settle(peer, peer.outbound.peer_changed(), "the other side has restarted during {}, which may not run twice")
    elif change is PeerChange.UNCHANGED:
        _ask(peer, link, handshake)


def answer_reconnect(peer: "RpcPeer", message: RpcMessage) -> None:
    """Tell the other side which of its calls aren't known here, and answer the others again."""
    try:
        index, stages = peer.format.arguments(_RECONNECT.argument_types).decode(message.args)
        _enter_round(peer, index)
        unknown, known = peer.inbound.reconnect(stages)
    except RpcError as error:
        peer.post(RpcMessage(ERROR, message.related_id, 0, error_data(peer, error, "the question about open calls")))
        return
    peer.post(RpcMessage(OK, message.related_id, 0, peer.format.result(bytes).encode((unknown,))))
    for call, stage in known:
        call.repeat(stage)


def _enter_round(peer: "RpcPeer", index: int) -> None:
    """Refuse what isn't about this connection, or comes a second time on it."""
    link = peer.link
    if link is None or index != peer.handshake_index or link.has_reconnected:
        raise RpcError(f"Too late for this reconnect round: own handshake index {peer.handshake_index} != {index}.")
    link.has_reconnected = True


def _ask(peer: "RpcPeer", link: "Link", handshake: Handshake) -> None:
    asked = [call for call in peer.outbound if call.is_sent and call.may_reconnect]
    if not asked:
        return
    question = OutboundCall(peer, _RECONNECT, (handshake.index, peer.outbound.stages()))
    # It is about this connection, so it ends with it; and an other side that doesn't answer mustn't block calls.
    question.may_reconnect = question.may_resend = False
    peer.outbound.add(question)
    peer.send(question)
    if not question.future.done():
        question.arm(RpcCallTimeouts(run=peer.limits.handshake_timeout))
    peer.spawn(_settle_by_answer(peer, link, question, asked), name="rpc reconnect")


async def _settle_by_answer(peer: "RpcPeer", link: "Link", question: OutboundCall, asked: list[OutboundCall]) -> None:
    try:
        unknown: bytes = await question.future
        outcome = peer.outbound.same_peer_answered(unknown, [call.id for call in asked])
    except RpcDisconnected:
        # The next connection asks again.
        return
    except Exception as error:
        logger.warning("%r couldn't be asked about open calls, so they are sent again: %s", peer, error)
        # Those and no others: a call that was made since then is well, and must not be run twice.
        outcome = peer.outbound.same_peer_refused([call.id for call in asked])
        for call in outcome.invalidated:
            # It may well know of it, and would tell of it to nobody.
            peer.cancellations.say(call.id)
    if peer.link is link and link.is_open:
        _settle(peer, outcome, "the other side doesn't know of {} any more, and that may not be sent again")


def _settle(peer: "RpcPeer", outcome: Reconciliation[OutboundCall], problem: str) -> None:
    for call in outcome.invalidated:
        call.peer_forgot()
    for call in outcome.failed:
        call.fail(RpcDisconnected(problem.format(call.method.full_name)))
    peer.send_first(outcome.resent)


Stage = Annotated[int, msgspec.Meta(ge=0, le=255)]
"""How far a call has come; so few that a map by them is small, whoever has written it."""


class _ReconnectContract:
    async def reconnect(self, handshake_index: int, stages: dict[Stage, bytes]) -> bytes:
        """Stand for the protocol's own call with an answer."""
        raise NotImplementedError


_RECONNECT: Final = MethodDefinition(_ReconnectContract, "$sys", "reconnect", _ReconnectContract.reconnect)
