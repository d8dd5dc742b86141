"""Handshakes: what a stranger's first message leads to."""

from collections.abc import Iterable
from typing import Final

from fuzzing._harness import Target
from fuzzing._vectors import messages_of
from refusion.rpc import RpcProtocolError
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import VersionSet, check_handshake, peer_change
from refusion.rpc.protocol._system_calls import HANDSHAKE

__all__ = ["TARGETS"]

_FORMATS: Final = tuple(get_format(key) for key in ("json5np", "msgpack6"))


def _check(data: bytes) -> None:
    for format_ in _FORMATS:
        try:
            handshake = format_.decode_handshake(data)
        except RpcProtocolError as error:
            assert str(error)
            continue
        written = format_.encode_handshake(handshake)
        assert format_.decode_handshake(written) == handshake
        peer_change(handshake, handshake)
        try:
            check_handshake(handshake)
        except RpcProtocolError:
            continue
        versions = VersionSet(handshake.api_versions)
        assert len(versions) <= 16
        assert all(isinstance(number, int) for version in versions.values() for number in version)


def _seeds() -> Iterable[bytes]:
    for format_ in _FORMATS:
        for message in messages_of(format_, HANDSHAKE):
            yield message.args


TARGETS: Final = (
    Target(
        name="handshakes",
        check=_check,
        seeds=_seeds,
        tokens=(
            *(b"Api=1.0", b"Api=1.0,Backend=2.1", b'"Index":', b'"Value":', b'"RemoteApiVersionSet":', b"null"),
            *(b'"Secret":"s"', b"\x91\xa7Api=1.0", b"\xc0", b"\xcf" + b"\xff" * 8, b"\x80", b"\x90", b"=", b",", b"."),
        ),
    ),
)
