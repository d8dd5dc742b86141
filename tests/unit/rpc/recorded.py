"""Recorded sessions of the reference: what each side has said and when, in a form that can be compared."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import MethodNames, RpcMessage, ids_from_bytes
from refusion.rpc.protocol._exception_info import ExceptionInfo
from refusion.rpc.protocol._system_calls import (
    ERROR,
    HANDSHAKE,
    KEEP_ALIVE,
    OK,
)

__all__ = ["CLIENT", "SERVER", "Event", "Happening", "Said", "Session", "Transcript", "arguments_of", "session_names"]

DATA = Path(__file__).parents[2] / "data" / "protocol"

CLIENT: Final = "cccccccc-cccc-cccc-cccc-cccccccccccc"
SERVER: Final = "55555555-5555-5555-5555-555555555555"
"""What stands for the ids of each side: of its hub and of its peers, since either may name the host of a stream."""

ACK, ACK_END, ITEM, BATCH, END = "$sys.Ack:2", "$sys.AckEnd:1", "$sys.I:2", "$sys.B:2", "$sys.End:2"
DISCONNECT, CANCEL, INVALIDATE = "$sys.Disconnect:1", "$sys.Cancel:0", "$sys-c.Invalidate:0"
STREAM_MESSAGES: Final = frozenset({ACK, ACK_END, ITEM, BATCH, END})
NOBODY: Final = "00000000-0000-0000-0000-000000000000"

Said = tuple[str, Any]
"""The method of a message and its values."""

Topic = tuple[str, int]
"""What messages are about; within one topic their order counts, between topics it doesn't."""


class Happening(Enum):
    """What may happen in a session."""

    CONNECT = "connect"
    CLIENT_CLOSES = "client-close-called"
    CLIENT_SAYS = "client->server"
    SERVER_SAYS = "server->client"


@dataclass(frozen=True)
class Event:
    """One thing that has happened in a session."""

    at: float
    connection: int
    what: Happening
    frame: bytes = b""


class Transcript:
    """What one side has said on each connection, by topic."""

    def __init__(self, format_: RpcFormat, names: MethodNames, ids: dict[str, str]) -> None:
        self.format = format_
        self.names = names
        self._ids = ids
        self._said: dict[int, dict[Topic, list[Said]]] = {}

    def add(self, connection: int, frame: bytes) -> list[RpcMessage]:
        """Take down a frame; returns its messages, with stand-ins for ids."""
        for known, stand_in in self._ids.items():
            frame = frame.replace(known.encode(), stand_in.encode())
        messages, problem = self.format.read(frame, self.names)
        assert problem is None
        topics = self._said.setdefault(connection, {})
        for message in messages:
            values = values_of(self.format, message)
            topic = topic_of(message)
            if message.method == BATCH:
                first, items = values
                said: list[Said] = [(ITEM, [first + index, item]) for index, item in enumerate(items)]
            elif message.method == ACK and values[1] == NOBODY:
                # How often a consumer says how far it is depends on its pace.
                continue
            else:
                said = [(name_of(message), values)]
            topics.setdefault(topic, []).extend(said)
        return messages

    def on(self, connection: int) -> dict[Topic, list[Said]]:
        """Return what was said on a connection, counted from 1."""
        return self._said.get(connection, {})


class Session:
    """A recorded session."""

    def __init__(self, name: str) -> None:
        content: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
        self.format: RpcFormat = get_format(content["format"])
        self.results: dict[str, Any] = content["results"]
        """What the recorded client got."""
        self.is_same_peer: bool = "same-peer" in name
        """Whether the server has kept its peer over the outage; else the client was a stranger to it."""
        self.result_ids: dict[str, int] = _SAME_PEER_RESULTS if self.is_same_peer else _PEER_CHANGE_RESULTS
        """The calls that plain results have come from."""
        self.events: list[Event] = []
        self.ids: dict[str, str] = {}
        """The stand-ins for the recorded ids."""
        for event in content["events"]:
            what = event.get("dir", event.get("event"))
            if what not in {kind.value for kind in Happening}:
                continue
            frame = bytes.fromhex(event.get("bytesHex", ""))
            self.events.append(Event(event["t"] / 1000, event["conn"], Happening(what), frame))
            for message in event.get("messages", ()):
                if message["method"] == HANDSHAKE:
                    self._learn_ids(message["args"][0], CLIENT if what == Happening.CLIENT_SAYS.value else SERVER)

    def transcript(self, who: Happening, names: MethodNames) -> Transcript:
        """Return what one side has said."""
        transcript = Transcript(self.format, names, self.ids)
        for event in self.events:
            if event.what is who:
                transcript.add(event.connection, event.frame)
        return transcript

    @property
    def last_close(self) -> Event:
        """The end of the session."""
        return [event for event in self.events if event.what is Happening.CLIENT_CLOSES][-1]

    def message(self, event: Event, names: MethodNames) -> RpcMessage:
        """Return the message of a frame; the recorded sides put one into each."""
        (message,), problem = self.format.read(event.frame, names)
        assert problem is None
        return message

    def with_ids(self, frame: bytes, ids: dict[str, str]) -> bytes:
        """Return a frame with other ids, that of the client or server, in place of the recorded ones."""
        for known, stand_in in self.ids.items():
            if stand_in in ids:
                frame = frame.replace(known.encode(), ids[stand_in].encode())
        return frame

    def _learn_ids(self, handshake: Any, stand_in: str) -> None:
        fields = list(handshake.values()) if isinstance(handshake, dict) else handshake
        self.ids[fields[0]] = self.ids[fields[2]] = stand_in


_SAME_PEER_RESULTS: Final = {
    "add2": 1,
    "add3": 2,
    "greet": 3,
    "counter1": 5,
    "counter2": 7,
    "sum": 11,
    "a": 15,
    "b": 16,
    "counter3": 18,
}
_PEER_CHANGE_RESULTS: Final = {"counter1": 2, "a": 3, "counter2": 4}


def session_names() -> list[str]:
    """Return the names of all recorded sessions."""
    return sorted(path.stem for path in DATA.glob("transcript-*.json"))


def name_of(message: RpcMessage) -> str:
    return message.method if message.method_hash is None else f"<{message.method_hash:08x}>"


def topic_of(message: RpcMessage) -> Topic:
    if message.method in STREAM_MESSAGES:
        # The sender's streams and the receiver's have their own numbers.
        return ("consumed" if message.method in {ACK, ACK_END} else "shared"), message.related_id
    if message.method in {HANDSHAKE, KEEP_ALIVE, DISCONNECT} or message.related_id == 0:
        return "link", 0
    # What is said about calls of the other side, and about one's own.
    is_answer = message.method in {OK, ERROR, INVALIDATE}
    return ("answered" if is_answer else "asked"), message.related_id


COUNTS: Final = {
    HANDSHAKE: 1,
    KEEP_ALIVE: 1,
    DISCONNECT: 1,
    ACK: 2,
    ACK_END: 1,
    ITEM: 2,
    BATCH: 2,
    CANCEL: 0,
    INVALIDATE: 0,
}


def values_of(format_: RpcFormat, message: RpcMessage) -> Any:
    """Return the values of a message, without what may differ; see `test_recorded_sessions`."""
    match message.method:
        case "$sys.Handshake:1":
            handshake = format_.decode_handshake(message.args)
            return [handshake.remote_peer_id, handshake.remote_hub_id, handshake.index, handshake.protocol_version]
        case "$sys.Error:1":
            return [error_text(format_.decode_error(message.args))]
        case "$sys.End:2":
            index, error = format_.arguments((int, ExceptionInfo)).decode(message.args)
            return [index, error_text(error)]
        case "$sys.Reconnect:3":
            index, stages = format_.arguments((int, dict[int, bytes])).decode(message.args)
            return [index, {stage: ids_from_bytes(ids) for stage, ids in stages.items()}]
        case "$sys.Ok:1":
            if message.args in {b"", b"{}"}:
                return [None]
            return [plain(value) for value in format_.arguments((Any,)).decode(message.args)]
        case method if method in COUNTS:
            return list(format_.arguments((Any,) * COUNTS[method]).decode(message.args))
        case _:
            return arguments_of(format_, message.args)


def arguments_of(format_: RpcFormat, data: bytes) -> list[Any]:
    """Return the values of a call, however many there are."""
    values: list[Any] = []
    while True:
        try:
            values = [plain(value) for value in format_.arguments((Any,) * (len(values) + 1)).decode(data)]
        except ValueError:
            return values


def plain(value: Any) -> Any:
    """Return a value; a reference of a stream in msgpack without the field that the TypeScript side leaves out."""
    if isinstance(value, dict) and "SerializedId" in value:
        return {key: item for key, item in value.items() if key != "IsRealTime"}
    return value


def error_text(error: ExceptionInfo) -> str:
    """Return what an error says, whichever side has put it into words."""
    if "not found" in error.message:
        return "not found"
    return error.message.removeprefix("Error: ")
