"""The golden frames of the reference, as seeds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["frames_of", "lz4_sequences", "messages_of", "vectors"]

DATA = Path(__file__).parents[1] / "tests" / "data" / "protocol"


def vectors(name: str) -> Any:
    """Return the content of one file of vectors."""
    return json.loads((DATA / f"{name}.json").read_text())


def frames_of(*formats: str) -> Iterator[bytes]:
    """Give the recorded, constructed and malformed frames of some formats."""
    for path in sorted(DATA.glob("*.json")):
        content = json.loads(path.read_text())
        for vector in content.get("vectors", ()):
            if "bytesHex" in vector and vector.get("format") in formats:
                yield bytes.fromhex(vector["bytesHex"])
        for event in content.get("events", ()):
            if "bytesHex" in event and content.get("format") in formats:
                yield bytes.fromhex(event["bytesHex"])


def messages_of(format_: Any, method: str = "") -> Iterator[Any]:
    """Give the messages in the frames of a format, or those of one method."""
    from refusion.rpc.protocol import MethodNames

    names = MethodNames()
    for frame in frames_of(format_.key):
        for message in format_.read(frame, names).messages:
            if not method or message.method == method:
                yield message


def lz4_sequences() -> Iterator[list[bytes]]:
    """Give sequences of packed frames."""
    for sequence in vectors("lz4-frames")["sequences"]:
        yield [bytes.fromhex(frame["wsBytesHex"]) for frame in sequence["frames"]]
