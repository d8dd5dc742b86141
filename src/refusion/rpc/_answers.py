"""Answers to calls of the other side, and calls that are answered where they arrive."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refusion._base._logging import logger

from ._errors import RpcError
from .formats._format import check_size
from .protocol._content_hash import HASH_HEADER, content_hash
from .protocol._exception_info import info_from_error
from .protocol._message import RpcMessage
from .protocol._system_calls import ERROR, MATCH, OK

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._peer import RpcPeer
    from ._served_method import ServedMethod

__all__ = ["answer_at_once", "error_answer", "error_data", "hashed_answer", "ok_answer"]


def ok_answer(
    peer: "RpcPeer", method: "MethodDefinition", call_id: int, result: Any, known_hash: str | None = None
) -> RpcMessage | None:
    """Return what tells the caller of a result; None if nobody waits for it.

    Args:
        peer: Who is told.
        method: What was called.
        call_id: The call.
        result: What the method has returned.
        known_hash: The content hash of what the caller has already, empty if that is nothing; it is told no more than
            that this is the result, too, where it is. None if the caller doesn't ask for hashes.

    Raises:
        RpcArgumentError: If the result can't be written.
        RpcLimitExceeded: If it is too large for a message.
    """
    if method.is_no_wait:
        return None
    data = peer.encode_result(method, result)
    if known_hash is None or method.has_result_streams:
        return RpcMessage(OK, call_id, 0, data)
    return hashed_answer(call_id, data, content_hash(data), known_hash)


def hashed_answer(call_id: int, data: bytes, hash_: str, known_hash: str) -> RpcMessage:
    """Return what tells a caller who asks for hashes of the argument data of a result, or that it has that already."""
    if hash_ == known_hash:
        return RpcMessage(MATCH, call_id)
    return RpcMessage(OK, call_id, 0, data, ((HASH_HEADER, hash_),))


def error_answer(peer: "RpcPeer", method: "MethodDefinition", call_id: int, error: BaseException) -> RpcMessage | None:
    """Return what tells the caller of an error, as far as it may see it; None if nobody waits for it."""
    if method.is_no_wait:
        logger.error("%s failed, and nobody waits for it", method.full_name, exc_info=error)
        return None
    data = error_data(peer, peer.hub.filter_error(error), method.full_name)
    return RpcMessage(ERROR, call_id, 0, data)


def error_data(peer: "RpcPeer", error: BaseException, what: str) -> bytes:
    """Return the argument data that tells of an error, or of another one if that can't be sent.

    Args:
        peer: Who is told.
        error: What it may see.
        what: What has failed.
    """
    format_ = peer.format
    try:
        data = format_.encode_error(info_from_error(error))
        check_size("the text of an error", len(data), peer.limits.sizes.argument_bytes)
    except RpcError as problem:
        # Its text is too long, or no text at all; the caller has to hear something.
        logger.error("an error of %s can't be sent", what, exc_info=error)
        told = RpcError(f"{what[:200]} failed with an error that can't be sent: {str(problem)[:200]}")
        data = format_.encode_error(info_from_error(told))
    return data


def answer_at_once(peer: "RpcPeer", served: "ServedMethod", message: RpcMessage) -> None:
    """Run a method that never suspends, and answer: there is nothing to cancel, and nothing that could come again."""
    method = served.definition
    try:
        values = served.decode(peer, message.args)
        result = peer.call_context.copy().run(_run_to_end, served, values)
        answer = ok_answer(peer, method, message.related_id, result)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        answer = error_answer(peer, method, message.related_id, error)
    if answer is not None:
        peer.post(answer)


def _run_to_end(served: "ServedMethod", values: Sequence[Any]) -> Any:
    coroutine: Any = served.call(values)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{served.definition.full_name} was taken for a method that never suspends, and did")
