"""Messages as a peer would send them, more or less: valid ones of every sort, some with something wrong in them."""

from typing import Any, Final

from fuzzing._choices import Choices, mutated
from fuzzing._raw_side import RawSide
from refusion.rpc.protocol import ExceptionInfo, RpcMessage, ids_to_bytes
from refusion.rpc.protocol._stream_reference import MAX_POSITION, NO_HOST, StreamReference
from refusion.rpc.protocol._system_calls import (
    ACK,
    ACK_END,
    BATCH,
    CANCEL,
    DISCONNECT,
    END,
    ERROR,
    INVALIDATE,
    ITEM,
    KEEP_ALIVE,
    MATCH,
    NOT_FOUND,
    OK,
    RECONNECT,
)

__all__ = ["CALLS", "SERVICE", "MessageMaker"]

SERVICE: Final = "IFuzz"
CALLS: Final = {
    "Add:3": (int, int),
    "Echo:2": (Any,),
    "Place:4": (dict[str, Any], bool, Any),
    "Greet:2": (dict[str, Any],),
    "Draw:2": (Any,),
    "Wait:2": (str,),
    "Fail:2": (str,),
    "Tell:1": (str,),
    "Count:2": (int,),
    "Total:2": (Any,),
    "Get:2": (str,),
    "Touch:2": (str,),
    "Nothing:0": (),
}
"""Methods of the service on the wire, and one that isn't there."""

NEWER: Final = "$sys.New:1"
"""One of the protocol's own messages that isn't known yet."""

_SYSTEM: Final = (
    *(OK, ERROR, CANCEL, MATCH, NOT_FOUND, RECONNECT, KEEP_ALIVE, DISCONNECT),
    *(ACK, ACK_END, ITEM, BATCH, END, INVALIDATE, "$sys.Handshake:1", NEWER),
)
_TEXTS: Final = ("a", "b", "", "ä\n")
_HEADERS: Final = (
    ("~p", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("~s", "a=b"),
    ("~p", "short"),
    ("token", "x"),
    ("#", ""),
    ("#", "c0dctApWjo2ooEXO0RATfhWf"),
    ("~g", "1"),
    ("", ""),
)


class MessageMaker:
    """Makes the messages of one side.

    Args:
        side: Who sends them.
        peer_id: The id of its peer object: the host of the streams that it shares.
        other_id: Returns that of the other side.
    """

    def __init__(self, side: RawSide, peer_id: str, other_id: str) -> None:
        self._side = side
        self.peer_id = peer_id
        """The host of the streams that it shares."""
        self._other_id = other_id
        self._last_id = 20

    def any(self, choices: Choices, *, with_calls: bool = True) -> RpcMessage:
        """Return a message: a call, one of the protocol's own, or one with arguments that are just bytes."""
        kind = choices.below(8)
        if kind < 3 and with_calls:
            message = self.call(choices)
        elif kind < 7:
            message = self.system(choices, choices.pick(_SYSTEM))
        else:
            method = choices.pick((*_SYSTEM, *(f"{SERVICE}.{name}" for name in CALLS)))
            message = RpcMessage(method, self.related_id(choices), choices.below(3), choices.some_bytes())
        if choices.one_in(12):
            message = _with_args(message, mutated(message.args, choices))
        if choices.one_in(12):
            headers = tuple(choices.pick(_HEADERS) for _ in range(1 + choices.below(3)))
            message = RpcMessage(message.method, message.related_id, message.call_type, message.args, headers)
        return message

    def call(self, choices: Choices) -> RpcMessage:
        """Return a call of the service."""
        name = choices.pick(tuple(CALLS)) if choices.below(4) else "Wait:2"
        call_type = 1 if name == "Get:2" else 0
        if choices.one_in(10):
            call_type = choices.below(8)
        values = self._values(name, choices)
        args = self._side.arguments(CALLS[name], values)
        related_id = self.fresh_id() if choices.one_in(2) else self.related_id(choices)
        return RpcMessage(f"{SERVICE}.{name}", related_id, call_type, args)

    def message(self, method: str, related_id: int, types: tuple[Any, ...], values: tuple[Any, ...]) -> RpcMessage:
        """Return a message with these arguments."""
        return RpcMessage(method, related_id, 0, self._side.arguments(types, values))

    def fresh_id(self) -> int:
        """Return an id that no call has had."""
        self._last_id += 1
        return self._last_id

    def system(self, choices: Choices, method: str) -> RpcMessage:
        """Return one of the protocol's own messages."""
        types, values = self._system_values(choices, method)
        return RpcMessage(method, self.related_id(choices), 0, self._side.arguments(types, values))

    def related_id(self, choices: Choices) -> int:
        """Return an id: mostly one of the first, which are in use."""
        kind = choices.below(8)
        return choices.number() if kind == 7 else choices.below(12) if kind > 3 else 1 + choices.below(3)

    def reference(self, choices: Choices, host_id: str | None = None, local_id: int = 0) -> Any:
        """Return what stands for a stream."""
        period = 1 + choices.below(40)
        reference = StreamReference(
            host_id=host_id or choices.pick((self.peer_id, self._other_id, NO_HOST, "")),
            local_id=local_id or 1 + choices.below(3),
            ack_period=period,
            ack_advance=period + choices.below(60),
            allow_reconnect=not choices.one_in(4),
            is_real_time=choices.one_in(4),
        )
        return reference.to_text() if self._side.format.is_text else reference.to_map()

    def value(self, choices: Choices) -> Any:
        """Return a value of some type."""
        kind = choices.below(11)
        if kind < 3:
            return choices.byte()
        if kind == 3:
            return self.reference(choices)
        if kind == 10:
            return "x" * choices.below(5_000)
        if kind == 4:
            return [choices.byte() for _ in range(choices.below(5))]
        if kind == 5:
            return {choices.pick(_TEXTS): choices.byte()}
        return (choices.pick(_TEXTS), None, 0.5, choices.number(), True)[kind - 5]

    def _values(self, name: str, choices: Choices) -> tuple[Any, ...]:
        match name:
            case "Add:3":
                return choices.number(), choices.byte()
            case "Echo:2":
                return (self.value(choices),)
            case "Place:4":
                order = {"items": [{"x": choices.byte()}] * choices.below(3), "tags": [choices.pick(_TEXTS)]}
                return order, choices.one_in(2), {"x": 1}
            case "Greet:2":
                return ({"name": choices.pick(_TEXTS), "age": choices.byte() - 10},)
            case "Draw:2":
                return ({"radius": 1.0},)
            case "Count:2":
                return (choices.below(400),)
            case "Total:2":
                return (self.reference(choices),)
            case "Nothing:0":
                return ()
            case _:
                return (choices.pick(_TEXTS),)

    def _system_values(self, choices: Choices, method: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        host = choices.pick((self._other_id, NO_HOST, self.peer_id))
        match method:
            case "$sys.Ok:1":
                return (Any,), (self.value(choices),)
            case "$sys.Error:1":
                return (ExceptionInfo,), (self._error(choices),)
            case "$sys.Reconnect:3":
                stages = {choices.below(3): self._ids(choices) for _ in range(choices.below(3))}
                return (int, dict[int, bytes]), (choices.below(4), stages)
            case "$sys.KeepAlive:1" | "$sys.Disconnect:1":
                return (list[int],), ([self.related_id(choices) for _ in range(choices.below(5))],)
            case "$sys.Ack:2":
                index = MAX_POSITION if choices.one_in(16) else choices.number() - 1 if choices.one_in(4) else 0
                return (int, str), (min(index, MAX_POSITION), host)
            case "$sys.AckEnd:1":
                return (str,), (host,)
            case "$sys.I:2":
                return (int, Any), (self._index(choices), self.value(choices))
            case "$sys.B:2":
                return (int, list[Any]), (self._index(choices), [choices.byte()] * choices.below(200))
            case "$sys.End:2":
                return (int, ExceptionInfo), (self._index(choices), self._error(choices))
            case _:
                return (), ()

    def _index(self, choices: Choices) -> int:
        return min(choices.number(), MAX_POSITION) if choices.one_in(6) else choices.below(6)

    def _ids(self, choices: Choices) -> bytes:
        return ids_to_bytes(sorted(self.related_id(choices) for _ in range(choices.below(6))))

    def _error(self, choices: Choices) -> ExceptionInfo:
        name = choices.pick(
            ("", "System.ArgumentException", "System.OperationCanceledException", "ActualLab.Rpc.RpcRerouteException")
        )
        return ExceptionInfo(f"{name}, System.Private.CoreLib" if name else "", choices.pick(_TEXTS))


def _with_args(message: RpcMessage, args: bytes) -> RpcMessage:
    return RpcMessage(message.method, message.related_id, message.call_type, args, message.headers)
