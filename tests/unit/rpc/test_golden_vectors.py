"""Frames of the reference implementations are read, and written, byte for byte."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import (
    MethodNames,
    RpcMessage,
    encode_client_id,
    ids_from_bytes,
    ids_to_bytes,
    is_valid_proof,
    method_hash,
    reconnect_proof,
)

DATA = Path(__file__).parents[2] / "data" / "protocol"
FORMATS = ("json5np", "msgpack6", "msgpack6c")


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / name).read_text())
    return content


def message_vectors() -> list[Any]:
    vectors = [vector for key in FORMATS for vector in load(f"messages-{key}.json")["vectors"]]
    vectors += [vector for vector in load("dotnet-shaped.json")["vectors"] if vector["format"] in FORMATS]
    return [pytest.param(vector, id=f"{vector['format']}-{vector['name']}") for vector in vectors]


def transcript_frames() -> list[Any]:
    frames = []
    for path in sorted(DATA.glob("transcript-*.json")):
        transcript = json.loads(path.read_text())
        for index, event in enumerate(transcript["events"]):
            if "bytesHex" in event:
                frames.append(pytest.param(transcript["format"], event, id=f"{path.stem}-{index}"))
    return frames


def names_of(messages: list[dict[str, Any]]) -> MethodNames:
    names = MethodNames()
    for message in messages:
        if not message["method"].startswith("<hash"):
            names.add(message["method"])
    return names


def untyped(value: Any) -> Any:
    """Return the value that the vector files write down with `$int` and the like."""
    if isinstance(value, list):
        return [untyped(item) for item in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("$float", text)]:
            return float(text)
        case [("$int", text)]:
            return int(text)
        case [("$bytes", text)]:
            return bytes.fromhex(text)
        case [("$map", pairs)]:
            return {untyped(key): untyped(item) for key, item in pairs}
        case [("$timestamp", text)]:
            return msgspec.convert(text, datetime)
        case _:
            return {key: untyped(item) for key, item in value.items()}


def check_messages(format_: RpcFormat, data: bytes, expected: list[dict[str, Any]]) -> None:
    result = format_.read(data, names_of(expected))
    assert result.problem is None
    assert [
        (name_of(message), message.related_id, message.call_type, [list(header) for header in message.headers])
        for message in result.messages
    ] == [
        (message["method"], message["relatedId"], message["callType"], message.get("headers", []))
        for message in expected
    ]
    for message, wanted in zip(result.messages, expected, strict=True):
        if "args" in wanted:
            check_args(format_, message, untyped(wanted["args"]))
    if any(message.method_hash is not None for message in result.messages):
        return
    buffer = bytearray()
    for message in result.messages:
        format_.write(buffer, message)
    if "Headers" not in (data.decode() if format_.is_text else ""):
        assert buffer == data


def name_of(message: RpcMessage) -> str:
    return message.method if message.method_hash is None else f"<hash:0x{message.method_hash:08x}>"


def check_args(format_: RpcFormat, message: RpcMessage, wanted: list[Any]) -> None:
    types: tuple[Any, ...] = (Any,) * len(wanted)
    if message.method.startswith("$sys.Reconnect"):
        types = (int, dict[int, bytes])
        stages = {int(stage): as_bytes(ids) for stage, ids in wanted[1].items()}
        wanted = [wanted[0], stages]
    codec = format_.arguments(types)
    values = codec.decode(message.args)
    assert repr(list(values)) == repr(wanted) or list(values) == wanted
    if not is_javascript_only(wanted, format_):
        assert codec.encode(values) == message.args


def as_bytes(ids: str | bytes) -> bytes:
    return ids if isinstance(ids, bytes) else base64.b64decode(ids)


def is_javascript_only(value: Any, format_: RpcFormat) -> bool:
    """Tell whether Python writes another form of the same value: one that the reference reads as well.

    JavaScript has one type of number, so it writes 10.0 as an integer; its bigint always takes nine bytes;
    its dates keep their milliseconds; and it writes floats like 1e+21.
    """
    if isinstance(value, dict):
        return any(is_javascript_only(item, format_) for item in value.values())
    if isinstance(value, list):
        return any(is_javascript_only(item, format_) for item in value)
    if isinstance(value, datetime):
        return True
    if isinstance(value, float):
        return format_.is_text or value.is_integer()
    return isinstance(value, int) and not format_.is_text and abs(value) in (5, 9007199254740993)


@pytest.mark.parametrize("vector", message_vectors())
def test_a_frame_is_read_and_written_as_the_reference_does(vector: dict[str, Any]) -> None:
    check_messages(get_format(vector["format"]), bytes.fromhex(vector["bytesHex"]), vector["decoded"]["messages"])


@pytest.mark.parametrize(("key", "event"), transcript_frames())
def test_each_frame_of_a_recorded_session_is_read_and_written(key: str, event: dict[str, Any]) -> None:
    check_messages(get_format(key), bytes.fromhex(event["bytesHex"]), event["messages"])


def test_method_hashes_are_those_of_the_reference() -> None:
    for vector in load("method-hash.json")["methodHashes"]:
        assert method_hash(vector["name"]) == vector["hashUInt32"]
        assert method_hash(vector["name"]).to_bytes(4, "little").hex() == vector["wireHex"]


def test_id_lists_are_those_of_the_reference() -> None:
    for vector in load("increasing-seq.json")["vectors"]:
        ids = [int(number) for number in vector["values"]]
        assert ids_to_bytes(ids).hex() == vector["bytesHex"]
        assert ids_from_bytes(bytes.fromhex(vector["bytesHex"])) == ids


def test_reconnect_proofs_are_those_of_the_reference() -> None:
    for vector in load("reconnect-proof.json")["proofs"]:
        proof = reconnect_proof(vector["secret"], vector["clientId"], vector["counterText"])
        assert proof == vector["proof"]


def test_client_ids_are_those_of_the_reference() -> None:
    for vector in load("reconnect-proof.json")["clientIds"]:
        assert encode_client_id(UUID(vector["peerId"])) == vector["clientId"]


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["name"]) for vector in load("malformed.json")["vectors"]]
)
def test_malformed_frames_keep_what_came_before_and_raise_nothing(vector: dict[str, Any]) -> None:
    names = MethodNames()
    messages, problem = get_format(vector["format"]).read(bytes.fromhex(vector["bytesHex"]), names)
    expected = {
        # The reference's .NET side accepts 64-bit ids and refuses an envelope without its line feed.
        "bin.varint-6-bytes": 1,
        "text.no-delimiter": 0,
    }.get(vector["name"], vector["tsResult"]["messagesDecoded"])
    assert len(messages) == expected
    is_whole = vector["name"] in {
        "bin.varint-6-bytes",
        "bin.two-messages-second-has-headers",
        "compact.unknown-hash",
        "text.leading-delimiter",
        "text.trailing-delimiter",
        "text.arg-not-json",
        "text.camelcase-envelope",
    }
    assert (problem is None) == is_whole


def test_a_proof_counts_once_and_only_in_its_canonical_form() -> None:
    proof = reconnect_proof("secret", "client", "2")
    assert is_valid_proof("secret", "client", "2", proof, last_counter=1)
    assert not is_valid_proof("secret", "client", "2", proof, last_counter=2)
    assert not is_valid_proof("secret", "client", "02", reconnect_proof("secret", "client", "02"), last_counter=1)
    assert not is_valid_proof("other", "client", "2", proof, last_counter=1)
