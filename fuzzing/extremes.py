"""The worst inputs of the largest size that are known: `python -m fuzzing.extremes [case ...]`.

Each is read in a process of its own. Shows how long it takes and how much memory, and ends with 1 if that is more
than it may be. What takes most are contracts that declare lists of what is small there and large here: a span of
time may be a byte in a message, and is 48 bytes in a list in Python. Whoever has these lowers `argument_bytes`.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from inspect import isfunction
from typing import Any, Final

import msgspec

from ._memory import peak_memory

__all__ = ["CASES", "MAX_FACTOR", "MAX_SECONDS", "main"]

MAX_SECONDS: Final = 10.0
"""The CPU time that the largest message may take."""

MAX_FACTOR: Final = 75
"""The memory that it may take, in times its size."""

_SIZE: Final = 16_252_928
"""The most that the arguments of a message may have, and nearly what a frame may have."""

Case = Callable[[], tuple[bytes, Callable[[bytes], object]]]


def _frame(key: str, part: bytes, start: bytes = b"") -> Case:
    def prepare() -> tuple[bytes, Callable[[bytes], object]]:
        from refusion.rpc.formats import get_format
        from refusion.rpc.protocol import MethodNames

        format_, names = get_format(key), MethodNames()
        return _fill(part, start), lambda data: format_.read(data, names)

    return prepare


def _packed(part: bytes) -> Case:
    def prepare() -> tuple[bytes, Callable[[bytes], object]]:
        import lz4.block

        from refusion.rpc.formats.lz4 import Lz4Decoder
        from refusion.rpc.protocol._limits import MAX_FRAME_BYTES

        block: bytes = lz4.block.compress(part, store_size=False)
        data = _fill(len(block).to_bytes(2, "little") + block, b"\x80")
        return data, lambda data: Lz4Decoder().decode(data, MAX_FRAME_BYTES)

    return prepare


def _arguments(key: str, type_: Any, part: bytes, start: bytes = b"", end: bytes = b"") -> Case:
    def prepare() -> tuple[bytes, Callable[[bytes], object]]:
        from refusion.rpc.formats import get_format

        codec = get_format(key).arguments((type_() if isfunction(type_) else type_,))
        return _fill(part, start, end), codec.decode

    return prepare


def _ids() -> tuple[bytes, Callable[[bytes], object]]:
    from refusion.rpc.protocol import InboundCalls

    calls: InboundCalls[Any] = InboundCalls()
    return _fill(b"\x01"), lambda data: calls.reconnect({0: data})


def _most_ids() -> tuple[bytes, Callable[[bytes], object]]:
    from refusion.rpc.protocol import InboundCalls

    calls: InboundCalls[Any] = InboundCalls()
    return b"\xff\xff\xff\xff\xff\x01" * 1_000_000, lambda data: calls.reconnect({0: data})


def _fill(part: bytes, start: bytes = b"", end: bytes = b"") -> bytes:
    return start + part * ((_SIZE - len(start) - len(end)) // len(part)) + end


def _array(part: bytes, *, per_part: int = 1) -> bytes:
    """Return the beginning of an array in MessagePack that is filled with parts."""
    return b"\xdd" + ((_SIZE - 5) // len(part) * per_part).to_bytes(4, "big")


def _point() -> Any:
    return list[msgspec.defstruct("Point", [("x", int), ("y", int, 0)])]  # type: ignore[misc]


def _streams() -> Any:
    from refusion.rpc import RpcStream

    return list[RpcStream[int]]


def _binary(type_: Any, part: bytes, *, per_part: int = 1) -> Case:
    return _arguments("msgpack6", type_, part, _array(part, per_part=per_part))


def _text(type_: Any, part: bytes, start: bytes = b"[", end: bytes = b"0]") -> Case:
    return _arguments("json5np", type_, part, start, end)


CASES: Final[dict[str, Case]] = {
    "text frame of separators": _frame("json5np", b"\x1e"),
    "text frame of small messages": _frame("json5np", b"{}\n\x1e"),
    "text frame of malformed messages": _frame("json5np", b"{\x1e"),
    "text frame of headers": _frame("json5np", b'"",', b'{"Headers":['),
    "binary frame of small messages": _frame("msgpack6", bytes(7)),
    "compact frame of small messages": _frame("msgpack6c", bytes(10)),
    "packed frame of small blocks": _packed(b"x"),
    "packed frame of zeros": _packed(bytes(16_384)),
    "ids, too many": _ids,
    "ids, as many as there may be": _most_ids,
    "anything: nils": _binary(Any, b"\xc0"),
    "anything: empty maps": _binary(Any, b"\x80"),
    "anything: empty arrays": _binary(Any, b"\x90"),
    "anything: maps of one": _binary(Any, b"\x81\xa0\xc0"),
    "anything: deep arrays": _arguments("msgpack6", Any, b"\x91"),
    "anything: floats": _binary(Any, b"\xca\0\0\0\1"),
    "anything: map by number": _arguments("msgpack6", Any, b"\xcd\1\2\xc0", b"\xdf\x00\x30\x00\x00"),
    "anything: text with empty objects": _text(Any, b"{},"),
    "anything: text with empty arrays": _text(Any, b"[],"),
    "anything: text with objects of one": _text(Any, b'{"":0},'),
    "anything: text, deep": _text(Any, b"["),
    "anything: text of one number": _text(Any, b"9", b"", b"9"),
    "numbers: nils": _binary(list[int], b"\xc0"),
    "numbers: integral floats": _binary(list[int], b"\xca\x4f\0\0\0"),
    "numbers: empty maps": _binary(list[int], b"\x80"),
    "numbers: text of many digits": _text(int, b"9", b"", b"9"),
    "numbers: text of integral floats": _text(list[int], b"1e9,"),
    "numbers: text with empty objects": _text(list[int], b"{},"),
    "numbers: text of a set": _text(set[int], b"2305843009213693951000,"),
    "numbers: text of keys": _text(dict[int, int], b'"2305843009213693951000":1,', b"{", b'"1":1}'),
    "decimals: text of many digits": _text(Decimal, b"9", b"", b"9"),
    "decimals: text of short ones": _text(list[Decimal], b"1e9,"),
    "decimals and numbers: text": _text(list[tuple[int, Decimal]], b"[1e1,1],", end=b"[1,1]]"),
    "spans: ticks": _binary(list[timedelta], b"\x01"),
    "spans: text": _text(list[timedelta], b'"00:00:01",', end=b'"00:00:01"]'),
    "structs: empty maps": _binary(_point, b"\x80"),
    "structs: small maps": _binary(_point, b"\x81\xa1x\x01"),
    "structs: maps with an integral float": _binary(_point, b"\x81\xa1x\xca\x3f\x80\0\0"),
    "structs: text with other spellings": _text(_point, b'{"X":1},', end=b'{"X":1}]'),
    "text for a number": _arguments("msgpack6", int, b"a", b"\xdb" + (_SIZE - 5).to_bytes(4, "big")),
    "a type name": _arguments("json5", object, b"[]", b"/* @=X", b", Y */1"),
    "polymorphic: nils behind": _arguments("msgpack6", object, b"\xc0", b"\x01\x00"),
    "streams: text": _text(_streams, b'",1,1,1",', end=b'",1,1,1"]'),
    "arguments: separators": _arguments("json5np", int, b"\x1f", b"1"),
}
"""What is to be read, and by what."""


def main() -> int:
    """Measure the cases that are named, or all."""
    if sys.argv[1:2] == ["--measure"]:
        return _measure(CASES[sys.argv[2]])
    failed = False
    print(f"{'case':<40} {'seconds':>8} {'MiB':>7} {'factor':>7}")
    for name in sys.argv[1:] or CASES:
        command = [sys.executable, "-m", __spec__.name, "--measure", name]
        seconds, memory, size = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
        is_bad = seconds > MAX_SECONDS or memory > MAX_FACTOR * size
        failed |= is_bad
        print(
            f"{name:<40} {seconds:>8.2f} {memory / 2**20:>7.0f} {memory / size:>7.1f}{'  !' if is_bad else ''}",
            flush=True,
        )
    return int(failed)


def _measure(case: Case) -> int:
    data, read = case()
    before, started = peak_memory(), time.process_time()
    try:
        read(data)
    except ValueError:
        # The documented errors of readers are such.
        pass
    print(time.process_time() - started, peak_memory() - before, len(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
