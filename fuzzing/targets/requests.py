"""What a stranger asks for: who gets in, by client id, format, proof and origin."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from fuzzing._choices import Choices
from fuzzing._harness import Target
from fuzzing._loop import LOOP
from fuzzing._vectors import vectors
from refusion.rpc import RpcHub
from refusion.rpc.protocol import reconnect_proof
from refusion.rpc.transports import Rejection, allow_origins, same_origin, same_origin_with_cookies
from refusion.rpc.transports._serving import connection_request
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock

__all__ = ["TARGETS"]

_KEYS: Final = ("msgpack6c", "json5np", "json5", "msgpack6-lz4", "", "json4", "\x00")
_validate: Final = allow_origins("https://app.example.com", "http://localhost:3000")


def _check(data: bytes) -> None:
    choices = Choices(data)
    if choices.one_in(2):
        _check_proofs(choices)
    else:
        _check_raw(choices)


def _check_raw(choices: Choices) -> None:
    """Anything in the place of a path and of headers."""
    names = ("origin", "host", "cookie", "sec-websocket-protocol")
    headers = [(choices.pick(names), choices.text(40)) for _ in range(choices.below(5))]
    target = choices.rest().decode("latin-1")
    LOOP.run(_accept(target, headers))


async def _accept(target: str, headers: list[tuple[str, str]]) -> None:
    with VirtualClock():
        request = connection_request(target, headers, "fuzzing")
        for validate in (same_origin, same_origin_with_cookies, _validate):
            assert validate(request) in (True, False)
        async with RpcHub(transport=MemoryNetwork()) as hub:
            outcome = hub.accept(request)
            assert isinstance(outcome, Rejection) or request.query["clientId"]


def _check_proofs(choices: Choices) -> None:
    """A client that comes back with proofs, good ones and others: none is good twice, and no others are good."""
    LOOP.run(_come_back(choices))


async def _come_back(choices: Choices) -> None:
    with VirtualClock():
        async with RpcHub(transport=MemoryNetwork(), require_reconnect_proof=choices.one_in(2)) as hub:
            first: Any = hub.accept(connection_request("/rpc/ws?clientId=a&f=json5np", (), "fuzzing"))
            peer = first.peer
            # As if it had connected, said something, and gone.
            peer._is_acquainted = True
            last, is_proved = 0, False
            for _ in range(1 + choices.below(6)):
                counter = choices.pick((str(choices.number()), str(last), str(last + 1), choices.text(), "1" * 5_000))
                proof = reconnect_proof(peer.secret, "a", counter)
                is_right = choices.below(3) < 2
                if not is_right:
                    proof = choices.pick((choices.text(), reconnect_proof("secret", "a", counter), ""))
                has_both = choices.below(4) < 3
                query = (
                    f"c={quote(counter)}&p={quote(proof)}"
                    if has_both
                    else choices.pick(("", "c=1", f"p={quote(proof)}"))
                )
                request = connection_request(f"/rpc/ws?clientId=a&f=json5np&{query}", (), "fuzzing")
                outcome: Any = hub.accept(request)
                is_in = not isinstance(outcome, Rejection)
                assert not is_in or (outcome.peer is peer and outcome.is_proved is has_both)
                if not has_both:
                    assert not is_in or not (query or is_proved or hub.requires_reconnect_proof)
                elif is_in:
                    assert is_right
                    assert counter == str(int(counter))
                    assert last < int(counter) < 1 << 63
                    last, is_proved = int(counter), True


def _seeds() -> Iterable[bytes]:
    for key in _KEYS:
        yield b"\0\0" + f"/rpc/ws?clientId=abc&f={key}".encode()
        yield b"\0\x02\0\x14https://example.com\x01\x0bexample.com" + f"/rpc/ws?clientId=abc&f={key}".encode()
    for vector in vectors("reconnect-proof")["proofs"]:
        yield b"\0\0" + f"/rpc/ws?clientId={vector['clientId']}&c={vector['counterText']}&p={vector['proof']}".encode()
    yield b"\x01\0\x05\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0"


TARGETS: Final = (
    Target(
        name="requests",
        check=_check,
        seeds=_seeds,
        tokens=(
            b"clientId=",
            b"&f=",
            b"&c=",
            b"&p=",
            b"http://[",
            b"https://",
            b"%ff",
            b"://",
            b"@",
            b"[::1]:80",
            b";",
        ),
        max_bytes=512,
    ),
)
