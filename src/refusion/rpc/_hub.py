"""The hub: one process's node in a network of services and clients."""

import asyncio
import uuid
from functools import partial
from ssl import SSLContext
from typing import Any, Self, TypeVar

from refusion._base._clock import current_clock
from refusion._base._logging import log_failure, logger

from ._call_context import InboundContext, OutboundContext, RpcInboundMiddleware, RpcOutboundMiddleware
from ._call_kind import MessageHandler, RpcCallKind
from ._channel import RpcChannel
from ._client_peer import RpcClientPeer
from ._contract import MethodDefinition, ServiceDefinition
from ._error_filter import ErrorFilter, default_error_filter, hide_internals
from ._errors import RpcContractError, RpcDisconnected, RpcServiceNotFound, RpcUnsupportedFormat
from ._limits import RpcLimits
from ._link import Link
from ._peer import RpcPeer
from ._pipeline import Pipeline
from ._proxy import create_proxy, remote_function
from ._served_method import ServedMethod
from ._server_peer import RpcServerPeer
from ._system_messages import SYSTEM_MESSAGES
from ._tracing import RpcTracer, trace_inbound, trace_outbound
from .formats import get_format
from .protocol._method_names import MethodNames
from .transports import Network, Server, get_network
from .transports._transport import CLOSE_UNSUPPORTED_FORMAT, ConnectionRequest, Receiver, Rejection

__all__ = ["RpcHub"]

C = TypeVar("C")


class RpcHub:
    """Serves services and makes clients of services elsewhere, over any number of connections.

    A hub belongs to the event loop that it is first used in. Use it as `async with RpcHub() as hub:`, or
    `aclose` it.

    Example:
        ```python
        async with RpcHub() as hub:
            hub.add_service(Greeter, GreeterService())
            server = await hub.serve("127.0.0.1", 8080)
            ...
        ```
    """

    def __init__(
        self,
        *,
        transport: Network | str | None = None,
        format: str = "msgpack6c",
        limits: RpcLimits | None = None,
        error_filter: ErrorFilter | None = None,
        ssl: SSLContext | None = None,
    ) -> None:
        """Create a hub.

        Args:
            transport: `picows`, `websockets`, or a network of one's own; by default picows where it is
                installed, else websockets.
            format: The key of the wire format that its clients speak; its servers speak all.
            limits: Sizes and times.
            error_filter: Says what of the errors of handlers is sent; by default all of it, or where the
                environment says `REFUSION_ENV=production` only what was made to be seen, see `hide_internals`.
            ssl: How its clients verify servers at `wss://`, and the certificate that they show, if any; by default
                servers have to be trusted by the system. Servers have theirs from `serve`.

        Raises:
            RpcUnsupportedFormat: If there is no such format.
            LookupError: If there is no such transport.
        """
        self.id: str = str(uuid.uuid4())
        """The identity of this hub on the wire."""
        self.limits: RpcLimits = limits or RpcLimits()
        self.network: Network = get_network(transport) if transport is None or isinstance(transport, str) else transport
        self.ssl: SSLContext | None = ssl
        """How clients of this hub verify servers."""
        self.method_names: MethodNames = MethodNames()
        self.call_kinds: dict[int, RpcCallKind] = {}
        """The kinds of calls that are made and answered, by call type."""
        self.handlers: dict[str, MessageHandler] = dict(SYSTEM_MESSAGES)
        """What takes messages, by wire name."""
        self.inbound: Pipeline[InboundContext] = Pipeline(self._handle)
        """What calls go through before they are handled."""
        self.outbound: Pipeline[OutboundContext] = Pipeline(_send)
        """What calls go through before they are sent."""
        self.channels: set[RpcChannel] = set()
        """The channels that are open."""
        self._client_format = get_format(format)
        self._error_filter = error_filter or default_error_filter()
        self._services: dict[str, tuple[ServiceDefinition, Any]] = {}
        self._methods: dict[str, ServedMethod] = {}
        self._definitions: dict[type[Any], ServiceDefinition] = {}
        self._client_peers: dict[str, RpcClientPeer] = {}
        self._server_peers: dict[tuple[str, str], RpcServerPeer] = {}
        self._servers: list[Server] = []
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._closers: set[asyncio.Task[Any]] = set()
        self.add_call_kind(RpcCallKind())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        # Who leaves with an error isn't interested in what is still under way.
        await self.aclose(drain_timeout=None if error_type is None else 0.0)

    # Services

    def add_service(self, contract: type[C], implementation: C) -> None:
        """Offer a service.

        Args:
            contract: What is offered: a plain class whose public `async` methods can be called.
            implementation: Who answers.

        Raises:
            RpcContractError: If the contract can't be one, the implementation doesn't fulfil it, or the name
                of the service is taken.
        """
        definition = self._define(contract)
        definition.check_implementation(implementation)
        if definition.name in self._services:
            raise RpcContractError(contract.__qualname__, f"there is a service named {definition.name!r} already")
        if any(channel.name == definition.name for channel in self.channels):
            raise RpcContractError(contract.__qualname__, f"there is a channel named {definition.name!r} already")
        self._services[definition.name] = (definition, implementation)
        for name, method in definition.methods.items():
            self._methods[name] = served = ServedMethod(self, method, implementation)
            self.handlers[name] = served.receive
            self.method_names.add(name)

    def client(self, contract: type[C], peer: RpcPeer | str | None = None) -> C:
        """Return an object that looks like the contract and calls a service elsewhere.

        Args:
            contract: What is called.
            peer: Where: a URL as `ws://host:port`, or a peer, as that of a client which is to be called back.

        Raises:
            RpcContractError: If the contract can't be one.
            ValueError: If there is no peer to call.
        """
        if peer is None:
            if len(self._client_peers) != 1:
                raise ValueError("say whom to call: hub.client(Contract, url)")
            (peer,) = self._client_peers.values()
        elif isinstance(peer, str):
            peer = self.peer(peer)
        definition = self._define(contract)
        attributes = {method.name: self._proxy_attribute(method, peer) for method in definition.methods.values()}
        proxy: C = create_proxy(definition, peer, attributes)
        return proxy

    def kind_of(self, attribute: Any) -> int:
        """Return the call type that a method of a contract is called with; 0 for a regular call."""
        return 0

    def add_call_kind(self, kind: RpcCallKind) -> None:
        """Make and answer calls of another type."""
        self.call_kinds[kind.call_type] = kind
        self.handlers.update(kind.system_methods())

    # Calls

    def add_inbound_middleware(self, middleware: RpcInboundMiddleware) -> None:
        """Put middleware around the handlers of all services, inside of what was added before.

        It is awaited once for each call, whether that comes over a WebSocket or by plain HTTP, in the task and the
        context of the handler. What it raises is the answer.

        Example:
            ```python
            async def authenticate(call: InboundContext, proceed: Proceed) -> Any:
                if call.header("token") != "secret":
                    raise PermissionError("who are you?")
                return await proceed()
            ```
        """
        self.inbound.add(middleware)

    def add_outbound_middleware(self, middleware: RpcOutboundMiddleware) -> None:
        """Put middleware around the calls that clients of this hub make, inside of what was added before.

        It is awaited once for each call; for a compute method that is each time a value is fetched. Headers that
        it adds to `call.headers` go with the call.
        """
        self.outbound.add(middleware)

    def add_tracer(self, tracer: RpcTracer) -> None:
        """Let a tracer be told of all calls, those that are handled and those that are made."""
        self.inbound.add(partial(trace_inbound, tracer))
        self.outbound.add(partial(trace_outbound, tracer))

    async def invoke(self, context: InboundContext) -> Any:
        """Return the result of a call of a service here, through the inbound middleware; for transports.

        Raises:
            Exception: What the method or middleware has raised.
        """
        return await self.inbound.run(context)

    def filter_error(self, error: BaseException) -> BaseException:
        """Return what of an error of a handler may be sent; a filter that fails itself lets nothing through."""
        try:
            return self._error_filter(error)
        except Exception:
            log_failure("an error filter", self._error_filter)
            return hide_internals(error)

    @property
    def services(self) -> tuple[ServiceDefinition, ...]:
        """What this hub serves."""
        return tuple(definition for definition, _ in self._services.values())

    @property
    def is_closed(self) -> bool:
        """Whether the hub was closed, or is about to be."""
        return self._close_task is not None

    # Peers

    def peer(self, url: str) -> RpcClientPeer:
        """Return the peer for a URL, which starts to connect when it is new.

        Raises:
            ValueError: If the URL isn't one that the transport connects to, as `ws://` or `wss://`.
            RuntimeError: If no event loop runs, or the hub belongs to another one.
        """
        peer = self._client_peers.get(url)
        if peer is None:
            if url.partition("://")[0] not in self.network.schemes:
                schemes = " or ".join(f"{scheme}://" for scheme in self.network.schemes)
                raise ValueError(f"a peer is reached at {schemes}, not at {url!r}")
            self._check_open()
            peer = self._client_peers[url] = RpcClientPeer(self, url, self._client_format)
        return peer

    @property
    def server_peers(self) -> tuple[RpcServerPeer, ...]:
        """The clients that are connected, or were so not long ago."""
        return tuple(self._server_peers.values())

    async def serve(self, host: str = "127.0.0.1", port: int = 0, *, ssl: SSLContext | None = None) -> Server:
        """Start to listen for clients; the hub closes the server when it is closed itself.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.
            ssl: The certificate of the server, so that clients connect at `wss://`; by default nothing is encrypted.

        Raises:
            OSError: If it can't listen there.
        """
        self._check_open()
        server = await self.network.listen(host, port, self.accept, self.limits.transport, ssl)
        self._servers.append(server)
        return server

    def accept(self, request: ConnectionRequest) -> Receiver | Rejection:
        """Decide about a client that wants to connect; for transports."""
        if self.is_closed:
            return Rejection("The server is shutting down.", 503)
        client_id = request.query.get("clientId", "")
        if not client_id:
            return Rejection("The clientId parameter is missing.", 400)
        key = request.query.get("f") or self._client_format.key
        try:
            format_ = get_format(key)
        except RpcUnsupportedFormat:
            reason = f"Unsupported RPC serialization format: '{key}'"
            return Rejection(reason, close_code=CLOSE_UNSUPPORTED_FORMAT)
        peer = self._server_peers.get((client_id, key))
        if peer is None:
            self._check_open()
            peer = self._server_peers[client_id, key] = RpcServerPeer(self, client_id, format_)
        return Link(peer, request)

    async def aclose(self, *, drain_timeout: float | None = None) -> None:
        """Close servers, connections and peers.

        No connections are taken any more, nor calls. Handlers that run, and calls whose answers can still come,
        have some time to end. Then handlers are cancelled without an answer, so that their callers ask the next
        server, and waited for as long as `RpcLimits.close_timeout` says; calls end with `RpcDisconnected`. May be
        called again, and by several tasks at once, handlers among them: each returns when everything is closed.

        Args:
            drain_timeout: How many seconds what is under way may take; by default `RpcLimits.drain_timeout`.
        """
        if self._close_task is None:
            seconds = self.limits.drain_timeout if drain_timeout is None else drain_timeout
            self._close_task = asyncio.get_running_loop().create_task(self._close(seconds), name="rpc close hub")
        task = asyncio.current_task()
        if task is not None:
            self._closers.add(task)
        # Whoever asks, even a handler that the closing cancels: it is done to the end.
        await asyncio.shield(self._close_task)

    # For peers and channels

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this hub."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise RuntimeError("a hub belongs to the event loop that it was first used in; make one for each loop")
        return self._loop

    def forget_client(self, peer: RpcClientPeer) -> None:
        """Drop a client peer that is being closed."""
        if self._client_peers.get(peer.url) is peer:
            del self._client_peers[peer.url]

    def forget_server_peer(self, peer: RpcServerPeer) -> None:
        """Drop a server peer that is being closed."""
        key = (peer.client_id, peer.format.key)
        if self._server_peers.get(key) is peer:
            del self._server_peers[key]

    def expire(self, peer: RpcServerPeer) -> None:
        """Close a server peer whose client hasn't come back."""
        self.forget_server_peer(peer)
        peer.end_calls()
        task = self.loop.create_task(peer.aclose(), name="rpc expire peer")
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)

    def open_channel(self, channel: RpcChannel) -> None:
        """Note a channel, which is closed with the hub.

        Raises:
            RpcContractError: If a service or another channel has its name.
            RpcDisconnected: If the hub is closed.
        """
        if self.is_closed:
            raise RpcDisconnected(f"the hub of channel {channel.name!r} is closed; make a new one")
        if channel.name in self._services or any(other.name == channel.name for other in self.channels):
            raise RpcContractError(channel.name, "there is a service or a channel of this name already")
        self.channels.add(channel)

    def service(self, contract: type[C]) -> C:
        """Return the implementation that is served for a contract.

        Raises:
            RpcServiceNotFound: If there is none.
        """
        definition = self._define(contract)
        try:
            implementation: C = self._services[definition.name][1]
        except KeyError:
            raise RpcServiceNotFound(definition.name, tuple(self._services)) from None
        return implementation

    def _define(self, contract: type[Any]) -> ServiceDefinition:
        definition = self._definitions.get(contract)
        if definition is None:
            definition = ServiceDefinition(contract, self.kind_of)
            definition.check_types(self._client_format)
            self._definitions[contract] = definition
        return definition

    def _proxy_attribute(self, method: MethodDefinition, peer: RpcPeer) -> Any:
        return remote_function(method, peer)

    async def _handle(self, context: InboundContext) -> Any:
        return await self._methods[context.method.wire_name].invoke(context)

    async def _drain(self, seconds: float) -> None:
        peers = [*self._server_peers.values(), *self._client_peers.values()]
        for peer in peers:
            peer.takes_calls = False
        draining = asyncio.gather(*[peer.drain(self._closers) for peer in peers])
        clock = current_clock()
        timer = clock.call_at(clock.now() + seconds, draining.cancel)
        await asyncio.wait([draining])
        timer.cancel()

    async def _close(self, drain_seconds: float) -> None:
        if drain_seconds > 0:
            await self._drain(drain_seconds)
        for channel in tuple(self.channels):
            channel.close()
        # Peers before servers: a client should see calls unanswered, not answered with a cancellation.
        peers = [*self._server_peers.values(), *self._client_peers.values()]
        tasks = [asyncio.create_task(peer.aclose(), name="rpc close peer") for peer in peers]
        tasks.extend(self._closing_tasks)
        if tasks:
            clock = current_clock()
            timer = clock.call_at(clock.now() + self.limits.close_timeout, lambda: [task.cancel() for task in tasks])
            await asyncio.wait(tasks)
            timer.cancel()
            if any(task.cancelled() for task in tasks):
                logger.warning("a hub was closed while some connections or handlers were still busy")
        await asyncio.gather(*[server.aclose() for server in self._servers])

    def _check_open(self) -> None:
        if self.is_closed:
            raise RpcDisconnected("the hub is closed; make a new one")
        _ = self.loop


async def _send(context: OutboundContext) -> Any:
    peer, method = context.peer, context.method
    headers = tuple(context.headers.items())
    if method.is_no_wait:
        return await peer.send_no_wait(method, context.arguments, headers)
    context.call = call = peer.start(method, context.arguments, headers)
    return await call.wait()
