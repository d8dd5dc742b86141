"""Plain HTTP: what requests of any sort are answered with."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from fuzzing._choices import Choices
from fuzzing._harness import Target
from fuzzing._loop import LOOP
from refusion import FusionHub
from refusion.rpc.http import RpcHttpEndpoint
from refusion.rpc.transports.memory import MemoryNetwork

from ._contract import Service, ServiceContract

__all__ = ["TARGETS"]

_METHODS: Final = (
    "add",
    "echo",
    "place",
    "greet",
    "draw",
    "fail",
    "tell",
    "count",
    "total",
    "get",
    "touch",
    "Add:2",
    "no",
)
_PATHS: Final = ("/rpc/http/IFuzz/{}", "/rpc/http/{}", "/rpc/http/openapi.json", "/{}", "/rpc/http//{}/")
_VERBS: Final = ("POST", "POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT")
_TYPES: Final = ("application/json", "application/json", "application/json; charset=utf-8", "text/plain", "")
_STATUSES: Final = frozenset({200, 202, 204, 400, 404, 405, 413, 415, 422})
_MAX_BODY: Final = 1_000

_endpoint: RpcHttpEndpoint | None = None


def _check(data: bytes) -> None:
    LOOP.run(_serve(Choices(data)))


async def _serve(choices: Choices) -> None:
    global _endpoint
    if _endpoint is None:
        hub = FusionHub(transport=MemoryNetwork())
        hub.add_service(ServiceContract, Service())
        _endpoint = RpcHttpEndpoint(hub, max_body_bytes=_MAX_BODY)
    scope = _scope(choices)
    is_cut = choices.one_in(16)
    parts = _parts(choices)
    sent: list[Any] = []

    async def receive() -> Any:
        if parts:
            return parts.pop(0)
        if is_cut:
            return {"type": "http.disconnect"}
        return await LOOP.forever()

    async def send(message: Any) -> None:
        sent.append(message)

    if is_cut:
        parts[-1]["more_body"] = True
    await _endpoint(scope, receive, send)
    if sent or not is_cut:
        _check_answer(scope["method"], sent, is_call=not scope["path"].endswith("openapi.json"))


def _scope(choices: Choices) -> dict[str, Any]:
    method = choices.pick(_METHODS) if choices.below(8) else choices.text()
    headers = [(b"content-type", choices.pick(_TYPES).encode())]
    for _ in range(choices.below(3)):
        name = choices.pick(
            (b"content-length", b"content-type", b"content-encoding", b"traceparent", b"tracestate", b"~p")
        )
        headers.append((name, choices.some_bytes(80) if choices.below(3) else b"9" * choices.below(6_000)))
    return {
        "type": "http",
        "method": choices.pick(_VERBS),
        "path": choices.pick(_PATHS).format(method) if choices.below(8) else "/" + choices.text(60),
        "root_path": "" if choices.below(8) else choices.pick(("/rpc", "/rpc/http", "/x", "/")),
        "query_string": choices.some_bytes(16),
        "headers": headers,
        "client": None,
    }


def _parts(choices: Choices) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if choices.one_in(4):
        parts.append({"type": "http.request", "body": choices.some_bytes(), "more_body": True})
    parts.append({"type": "http.request", "body": choices.rest()})
    return parts


def _check_answer(verb: str, sent: list[Any], *, is_call: bool) -> None:
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    # One of the types has no JSON schema, so there is no description.
    assert start["status"] in _STATUSES or not is_call, (start, bodies)
    assert bodies
    assert [body.get("more_body", False) for body in bodies] == [True] * (len(bodies) - 1) + [False]
    headers = dict(start["headers"])
    content = b"".join(body["body"] for body in bodies)
    if b"content-length" in headers and verb != "HEAD":
        assert int(headers[b"content-length"]) == len(content)
    if start["status"] >= 400:
        assert headers[b"content-type"] == b"application/problem+json"
        if verb != "HEAD":
            problem = msgspec.json.decode(content)
            assert problem["status"] == start["status"]
            assert problem["detail"]
    elif headers.get(b"content-type") == b"application/json" and verb != "HEAD":
        # Decimals may be longer than floats are.
        msgspec.json.Decoder(float_hook=Decimal).decode(content)


def _seeds() -> Iterable[bytes]:
    bodies = {
        0: (b'{"a":1,"b":2}', b"[1]", b"{}", b'{"A":1e2}'),
        1: (b'{"data":[1,{"a":null}]}',),
        2: (b'{"order":{"items":[{"x":1}],"paid":1.5,"takes":"01:00:00","tags":["a"]},"isGift":true}',),
        3: (b'[{"name":"A","age":3,"photo":"YWJj","friends":[{"name":"B"}]}]',),
        4: (b'[{"radius":1}]',),
        5: (b'["text"]',),
        7: (b"[100]",),
        9: (b'["key"]', b""),
    }
    for method, texts in bodies.items():
        for text in texts:
            yield bytes([1, method, 0, 0, 0, 1, 0, 1, 0, 0, 0]) + text
    yield bytes([1, 0, 0, 0, 4, 1, 2, 1, 0, 0, 0])


TARGETS: Final = (
    Target(
        name="http",
        check=_check,
        seeds=_seeds,
        tokens=(b'"a":', b'"data":', b'"isGift":', b"null", b"[", b"{", b"9" * 40, b"1e999", b'"\\ud800"', b"\xff"),
        max_bytes=1_500,
    ),
)
