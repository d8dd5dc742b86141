"""`RpcHttpEndpoint`: an ASGI application that answers plain HTTP."""

import asyncio
from typing import Any, Final, Protocol, final
from urllib.parse import quote

import msgspec

from refusion._base._logging import logger
from refusion.rpc import InboundContext, RpcContractError, ServiceDefinition
from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES

from ._asgi import ClientGone, Receive, Response, Scope, Send, follow_lifespan, locate, read_body, respond
from ._call import answer_call, problem_response
from ._headers import call_headers, check_content_type, connection_request, content_length, read_headers
from ._openapi import create_openapi
from ._problems import ProblemError
from ._routes import MethodRoute, Routes

__all__ = ["RpcHttpEndpoint", "ServingHub"]

_OPENAPI: Final = "/openapi.json"


class ServingHub(Protocol):
    """What an endpoint for plain HTTP needs of a hub."""

    @property
    def services(self) -> tuple[ServiceDefinition, ...]:
        """What is served."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether it takes no calls any more."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to; raises in another one."""
        ...

    async def invoke(self, context: InboundContext) -> Any:
        """Run a method and return its result."""
        ...

    def filter_error(self, error: BaseException) -> BaseException:
        """Return what of an error of a method may be told to the outside."""
        ...


@final
class RpcHttpEndpoint:
    """An ASGI application through which the services of a hub are called with plain HTTP.

    `POST {path}/{service}/{method}` with a JSON object by parameter name calls a method; `GET
    {path}/openapi.json` describes them all. `RpcEndpoint` has one of these, so that one application serves
    both WebSocket and plain HTTP.

    Example:
        ```python
        app = RpcHttpEndpoint(hub, title="Shop", version="1.2")
        ```
    """

    def __init__(
        self,
        hub: ServingHub,
        path: str = "/rpc/http",
        *,
        title: str = "RPC services",
        version: str = "1",
        server_url: str | None = None,
        max_body_bytes: int = MAX_ARGUMENT_BYTES,
    ) -> None:
        """Create an endpoint.

        Args:
            hub: Whose services are called.
            path: Where they are, below the path that the application is mounted at. A mount at this path, or
                at the first part of it, counts as that part.
            title: The title of the OpenAPI document.
            version: The version of the services, as the OpenAPI document has it.
            server_url: Where clients find the services, as the OpenAPI document has it; by default what the
                server and the framework say, which may not know of a proxy in front of them.
            max_body_bytes: How large the body of a request may be; by default as large as the arguments of an
                RPC call.

        Raises:
            ValueError: If the path doesn't begin with a slash, or the size isn't positive.
        """
        if not path.startswith("/"):
            raise ValueError(f"the path must begin with a slash, as '/rpc/http', and is {path!r}")
        if max_body_bytes <= 0:
            raise ValueError(f"max_body_bytes must be positive, and is {max_body_bytes}")
        self.path: str = path.rstrip("/")
        self.title: str = title
        self.version: str = version
        self.server_url: str | None = server_url
        self.max_body_bytes: int = max_body_bytes
        self._hub = hub
        self._services: tuple[ServiceDefinition, ...] = ()
        self._routes = Routes(())
        self._document: tuple[str, bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of an ASGI server."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await follow_lifespan(receive, send)
            case "websocket":
                # Before the handshake is accepted, this is an HTTP 403.
                await send({"type": "websocket.close", "code": 1000, "reason": "There is only plain HTTP here."})
            case other:
                raise ValueError(f"an endpoint for plain HTTP can't serve ASGI connections of type {other!r}")

    def is_meant(self, scope: Scope) -> bool:
        """Tell whether a request goes to this endpoint's path, or below it."""
        return locate(scope, self.path) is not None

    def openapi(self, server_url: str | None = None) -> dict[str, Any]:
        """Return the OpenAPI document of what is served now.

        Args:
            server_url: Where the services are; by default the endpoint's `server_url`, or its path.

        Raises:
            RpcContractError: If a type has no JSON schema; names the method.
        """
        url = server_url or self.server_url or self.path or "/"
        return create_openapi(self._hub.services, title=self.title, version=self.version, server_url=url)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["method"] == "HEAD"
        try:
            base, rest = self._locate(scope)
            if rest == _OPENAPI:
                response = self._describe(scope["method"], base)
            else:
                route = self._current_routes().find(rest)
                if scope["method"] == "POST":
                    await self._call(route, scope, receive, send)
                    return
                response = _answer_other(scope["method"], ("POST", "OPTIONS"), (("accept-post", "application/json"),))
        except ProblemError as error:
            response = problem_response(error)
        except ClientGone:
            return
        await respond(send, response, is_head=is_head)

    def _locate(self, scope: Scope) -> tuple[str, str]:
        located = locate(scope, self.path)
        if located is None:
            raise ProblemError(404, f"there is nothing here; the services are below {self.path}/")
        return located

    async def _call(self, route: MethodRoute, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        check_content_type(headers)
        route.check_callable()
        if self._hub.is_closed:
            raise ProblemError(503, "the server is shutting down")
        _ = self._hub.loop
        body = await read_body(receive, content_length(headers), self.max_body_bytes)
        context = InboundContext(
            method=route.definition,
            arguments=route.reader.read(body),
            headers=call_headers(headers),
            peer=None,
            request=connection_request(scope, headers),
        )
        await answer_call(self._hub, route, context, receive, send)

    def _describe(self, verb: str, base: str) -> Response:
        if verb not in ("GET", "HEAD"):
            return _answer_other(verb, ("GET", "HEAD", "OPTIONS"))
        _ = self._current_routes()
        if self._document is None or self._document[0] != base:
            try:
                document = self.openapi(self.server_url or quote(base))
            except RpcContractError as error:
                logger.error("the services can't be described", exc_info=error)
                raise ProblemError(500, f"the services can't be described: {error}") from error
            self._document = base, msgspec.json.format(msgspec.json.encode(document))
        return Response(200, self._document[1], "application/json")

    def _current_routes(self) -> Routes:
        services = self._hub.services
        if services != self._services:
            self._routes = Routes(services)
            self._services = services
            self._document = None
        return self._routes


def _answer_other(verb: str, allowed: tuple[str, ...], headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Answer a request with a verb that does nothing here."""
    allow = ("allow", ", ".join(allowed))
    if verb == "OPTIONS":
        return Response(204, headers=(allow, *headers))
    raise ProblemError(405, f"{verb} does nothing here; there are {allow[1]}", headers=(allow,))
