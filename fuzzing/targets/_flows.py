"""Streams between a raw side and the code under test: what it takes several messages in the right order to reach."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fuzzing._choices import Choices
from fuzzing._raw_side import RawSide
from refusion.rpc import RpcArgumentError
from refusion.rpc.protocol import ExceptionInfo, RpcMessage
from refusion.rpc.protocol._stream_reference import MAX_POSITION, NO_HOST, StreamReference
from refusion.rpc.protocol._system_calls import ACK, ACK_END, BATCH, END, ITEM, OK
from refusion.testing import settle

from ._messages import SERVICE, MessageMaker

__all__ = ["Flows"]

_MAX_STEPS: Final = 12
_CARRIERS: Final = (OK, f"{SERVICE}.Total:2", f"{SERVICE}.Echo:2")
"""Messages that may have a stream in them."""


class Flows:
    """Plays whole streams, most of them well.

    Args:
        choices: Decides.
        maker: Makes messages.
        side: Whose messages they are.
        send: Sends one.
        is_server: Whether this is the side that accepts.
    """

    def __init__(
        self,
        choices: Choices,
        maker: MessageMaker,
        side: RawSide,
        send: Callable[[RpcMessage], None],
        *,
        is_server: bool,
    ) -> None:
        self._choices = choices
        self._maker = maker
        self._side = side
        self._send = send
        self._is_server = is_server
        self._last_stream = 10

    async def play(self) -> None:
        """Play one stream: share one, or read one of the other side."""
        flow: Callable[[], Awaitable[None]] = self._choices.pick((self._share, self._read))
        await flow()

    async def _share(self) -> None:
        """Share a stream; sometimes an item comes twice, or too early, or never."""
        choices, maker = self._choices, self._maker
        self._last_stream += 1
        number = self._last_stream
        reference = maker.reference(choices, maker.peer_id, number)
        if self._is_server:
            call_id = self._last_call(f"{SERVICE}.Count:2")
            self._send(maker.message(OK, call_id, (Any,), (reference,)))
        else:
            self._send(maker.message(f"{SERVICE}.Total:2", maker.fresh_id(), (Any,), (reference,)))
        await settle(2 + choices.below(6))
        index = 0
        for _ in range(choices.below(_MAX_STEPS)):
            at = index if choices.below(8) else choices.below(100)
            if choices.one_in(2):
                self._send(maker.message(ITEM, number, (int, int), (at, choices.byte())))
                index += 1
            else:
                count = choices.below(40)
                self._send(maker.message(BATCH, number, (int, list[int]), (at, list(range(count)))))
                index += count
            await settle(choices.below(6))
        if choices.below(4):
            error = ExceptionInfo("System.ArgumentException, System", "text") if choices.one_in(2) else ExceptionInfo()
            self._send(maker.message(END, number, (int, ExceptionInfo), (index, error)))

    async def _read(self) -> None:
        """Read a stream of the other side, acknowledging more or less what was received."""
        choices, maker = self._choices, self._maker
        if not self._is_server:
            self._send(maker.message(f"{SERVICE}.Count:2", maker.fresh_id(), (int,), (choices.below(400),)))
        await settle(4)
        reference = self._last_reference()
        if reference is None:
            return
        number, host = reference.local_id, reference.host_id
        self._send(maker.message(ACK, number, (int, str), (0, host)))
        end = 0
        for _ in range(choices.below(_MAX_STEPS)):
            await settle(choices.below(6))
            match choices.below(8):
                case 0:
                    values = (end, host)
                case 1:
                    values = (min(choices.number(), MAX_POSITION), choices.pick((NO_HOST, host)))
                case _:
                    end += choices.below(40)
                    values = (end, NO_HOST)
            self._send(maker.message(ACK, number, (int, str), values))
        if choices.one_in(2):
            self._send(maker.message(ACK_END, number, (str,), (host,)))

    def _last_call(self, method: str) -> int:
        calls = [message.related_id for message in self._side.received if message.method == method]
        return calls[-1] if calls else 1

    def _last_reference(self) -> StreamReference | None:
        for message in reversed(self._side.received[-20:]):
            if message.method in _CARRIERS:
                try:
                    (value,) = self._side.format.arguments((Any,)).decode(message.args)
                    return (
                        StreamReference.from_text(value) if isinstance(value, str) else StreamReference.from_map(value)
                    )
                except (RpcArgumentError, ValueError):
                    continue
        return None
