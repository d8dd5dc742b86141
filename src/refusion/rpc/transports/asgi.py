"""Serving in any ASGI server: `RpcEndpoint` is an ASGI application that clients reach a hub through.

Mount it in Starlette, FastAPI or Litestar, or run it as it is under uvicorn. The server's own limits apply, too:
give uvicorn `ws_per_message_deflate=False`, and leave `ws_max_size` at 16 MiB or more.
"""

from typing import Final, Protocol, final

from refusion.rpc._limits import RpcLimits
from refusion.rpc.http import RpcHttpEndpoint, ServingHub
from refusion.rpc.http._asgi import Receive, Response, Scope, Send, follow_lifespan, respond

from ._origins import REFUSED_ORIGIN, OriginValidator, same_origin_with_cookies
from ._queued import QueuedTransport
from ._serving import connection_request
from ._transport import CLOSE_ABNORMAL, ConnectionRequest, Receiver, Rejection, TransportLimits, close_reason

__all__ = ["AcceptingHub", "RpcEndpoint"]


class AcceptingHub(ServingHub, Protocol):
    """What an endpoint needs of a hub."""

    limits: RpcLimits
    """What connections may take."""

    def accept(self, request: ConnectionRequest) -> Receiver | Rejection:
        """Decide about a client."""
        ...

    async def aclose(self) -> None:
        """End everything, because the server stops."""
        ...


@final
class RpcEndpoint:
    """An ASGI application through which clients reach the services of a hub.

    It takes WebSockets at any path that it is mounted at, and below `/rpc/http` plain HTTP; see
    `RpcHttpEndpoint`. Where it is the whole application it closes the hub when the server stops; mounted in another
    one it isn't told, so the lifespan of that one has to.

    Example:
        ```python
        app = Starlette(routes=[Mount("/", RpcEndpoint(hub))])
        ```
    """

    def __init__(
        self,
        hub: AcceptingHub,
        *,
        limits: TransportLimits | None = None,
        http: RpcHttpEndpoint | bool = True,
        origins: OriginValidator = same_origin_with_cookies,
    ) -> None:
        """Create an endpoint.

        Args:
            hub: Whose services are reached.
            limits: What a connection may take of memory and time; by default what the hub's limits say.
            http: What answers plain HTTP, if it isn't an `RpcHttpEndpoint(hub)`; False for nothing.
            origins: Which web pages may connect; by default all that bring no cookies, and those of this host.
        """
        self._hub = hub
        self._http = (RpcHttpEndpoint(hub) if http else None) if isinstance(http, bool) else http
        self._limits = limits or hub.limits.transport
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of an ASGI server."""
        match scope["type"]:
            case "websocket":
                await self._serve(scope, receive, send)
            case "http":
                if self._http is not None and self._http.is_meant(scope):
                    await self._http(scope, receive, send)
                else:
                    await respond(send, _UPGRADE_REQUIRED, is_head=scope["method"] == "HEAD")
            case "lifespan":
                await follow_lifespan(receive, send, self._hub.aclose)
            case other:
                raise ValueError(f"an RPC endpoint can't serve ASGI connections of type {other!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        client = scope.get("client")
        target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        request = connection_request(target, headers, client[0] if client else "")
        outcome = self._hub.accept(request) if self._origins(request) else REFUSED_ORIGIN
        if isinstance(outcome, Rejection):
            if outcome.close_code is None:
                await _refuse(scope, send, outcome)
            else:
                await send({"type": "websocket.accept"})
                await send(
                    {"type": "websocket.close", "code": outcome.close_code, "reason": close_reason(outcome.reason)}
                )
            return
        await send({"type": "websocket.accept"})
        await _AsgiTransport(receive, send, outcome, self._limits).run()


@final
class _AsgiTransport(QueuedTransport):
    # ASGI has no way to cut a connection: to read no further, which ends the application, does it.

    __slots__ = ("_receive", "_send")

    def __init__(self, receive: Receive, send: Send, receiver: Receiver, limits: TransportLimits) -> None:
        super().__init__(receiver, limits)
        self._receive = receive
        self._send = send

    async def read_frame(self) -> tuple[bytes, bool] | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.outcome = (message.get("code") or CLOSE_ABNORMAL, message.get("reason") or "")
            return None
        data = message.get("bytes")
        return (data, False) if data is not None else (message["text"].encode(), True)

    async def write_frame(self, frame: bytes) -> None:
        if self.receiver.is_text:
            await self._send({"type": "websocket.send", "text": frame.decode()})
        else:
            await self._send({"type": "websocket.send", "bytes": frame})

    async def end(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


async def _refuse(scope: Scope, send: Send, rejection: Rejection) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        # Before the handshake is accepted, this is an HTTP 403.
        await send({"type": "websocket.close", "code": CLOSE_ABNORMAL, "reason": close_reason(rejection.reason)})
        return
    body = f"{rejection.reason}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": rejection.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


_UPGRADE_REQUIRED: Final = Response(
    426,
    b"This endpoint speaks the Fusion protocol over WebSocket.\n",
    "text/plain; charset=utf-8",
    (("upgrade", "websocket"), ("connection", "upgrade")),
)
