"""The hub: one process's node in a network of services and clients.

It is the one object that programs hold. What it has is in files of their own: services, clients, peers in both
directions, middleware, channels; here is what programs see of them, and the order in which a hub is closed.
"""

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Any, Self, TypeVar

from refusion._base._clock import current_clock
from refusion._base._handlers import Handlers
from refusion._base._logging import log_failure, logger

from ._call_context import InboundContext, OutboundContext, RpcInboundMiddleware, RpcOutboundMiddleware
from ._call_kind import RpcCallKind
from ._channel import RpcChannel
from ._client_peer import RpcClientPeer
from ._client_peers import ClientPeers
from ._contract import ServiceDefinition
from ._draining import Draining
from ._dropped_messages import DroppedMessages
from ._error_filter import ErrorFilter, default_error_filter, hide_internals
from ._errors import RpcContractError, RpcDisconnected
from ._failover import FailoverRef
from ._invocations import Invocations
from ._limits import RpcLimits
from ._peer import RpcPeer
from ._pipeline import Pipeline
from ._proxy import create_proxy
from ._proxy_table import ProxyTable, RpcPlace
from ._routes import RpcLocal, RpcRoute
from ._sending import send_call
from ._server_peer import RpcServerPeer
from ._server_peers import ServerPeers
from ._service_modes import RpcServiceMode
from ._service_table import ServiceTable
from ._tracing import RpcTracer, trace_inbound, trace_outbound
from .formats import RpcFormat, get_format
from .protocol._version_set import DEFAULT_VERSIONS, VersionSet
from .transports import Network, Server, get_network
from .transports._origins import REFUSED_ORIGIN, OriginValidator, same_origin_with_cookies
from .transports._transport import ConnectionRequest, Receiver, Rejection

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
        versions: str = DEFAULT_VERSIONS,
        require_reconnect_proof: bool = False,
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
            versions: The versions of the API that this side speaks, as `Api=1.0`; a server answers to the names that
                clients of an older version know, see `rpc_method`.
            require_reconnect_proof: Whether a client that comes back has to prove that it is the same one, by a
                secret that it was given. Without it only those have to that did so before, as .NET and TypeScript
                clients do; a client from elsewhere that has learnt a client id could take its place.
            ssl: How its clients verify servers at `wss://`, and the certificate that they show, if any; by default
                servers have to be trusted by the system. Servers have theirs from `serve`.

        Raises:
            RpcUnsupportedFormat: If there is no such format.
            LookupError: If there is no such transport.
            RpcProtocolError: If `versions` can't be read.
        """
        self.id: str = str(uuid.uuid4())
        """The identity of this hub on the wire."""
        self.limits: RpcLimits = limits or RpcLimits()
        self.versions: str = versions
        """The versions of the API that this side speaks."""
        VersionSet(versions)
        self.requires_reconnect_proof: bool = require_reconnect_proof
        """Whether clients that come back have to prove that they are the same ones."""
        self.network: Network = get_network(transport) if transport is None or isinstance(transport, str) else transport
        self.ssl: SSLContext | None = ssl
        """How clients of this hub verify servers."""
        self.client_format: RpcFormat = get_format(format)
        """What its clients speak."""
        self.table: ServiceTable = ServiceTable(self, self.client_format)
        """What this hub serves, and who takes its messages."""
        self.inbound: Pipeline[InboundContext] = Pipeline(self._handle)
        """What calls go through before they are handled."""
        self.outbound: Pipeline[OutboundContext] = Pipeline(send_call)
        """What calls go through before they are sent."""
        self.dropped_messages: DroppedMessages = DroppedMessages()
        """What the log is told of messages that nobody could be answered about."""
        self.channels: set[RpcChannel] = set()
        """The channels that are open."""
        self._error_filter = error_filter or default_error_filter()
        self.client_peers: ClientPeers = ClientPeers(self)
        """The other sides that clients of this hub call."""
        self._close_handlers: Handlers[RpcHub] = Handlers("a handler of a closed hub")
        self.clients: ServerPeers = ServerPeers(self)
        """The other sides of connections to this hub."""
        self._proxies = ProxyTable(self)
        self._servers: list[Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._failovers: list[FailoverRef] = []
        self._invocations = Invocations(self)
        self._draining = Draining(self._invocations)
        self.add_call_kind(RpcCallKind())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        # Who leaves with an error isn't interested in what is still under way.
        await self.aclose(drain_timeout=None if error_type is None else 0.0)

    # Services

    def add_service(
        self,
        contract: type[C],
        implementation: C | None = None,
        *,
        mode: RpcServiceMode | str = RpcServiceMode.SERVER,
        target: RpcPlace | None = None,
    ) -> C:
        """Add a service, and return what callers in this process use: `service` finds it, too.

        Whoever is given that needn't know whether it is here or elsewhere.

        Args:
            contract: What is offered: a plain class whose public `async` methods can be called.
            implementation: Who answers, if it is here. It may be a client of another hub's service: then this hub is
                a gateway to that.
            mode: Whether it is here and only for this process (`local`), for others, too (`server`), elsewhere
                (`client`), or here and elsewhere, as a router says (`distributed`).
            target: Where it is if it is elsewhere, as for `client`.

        Raises:
            RpcContractError: If the contract can't be one, the implementation doesn't fulfil it, or there is a service
                of this name already.
            ValueError: If there is no such mode, or something is missing or superfluous in it.
        """
        mode = RpcServiceMode(mode)
        definition = self.table.define(contract)
        if mode is RpcServiceMode.CLIENT:
            if implementation is not None:
                raise ValueError("a client has no implementation here; say where the service is: target=...")
            client = self.client(contract, target)
            self.table.add_known(definition, client)
            return client
        if implementation is None:
            raise ValueError(
                f"a service in the mode {mode.value!r} needs an implementation; one that is elsewhere has mode='client'"
            )
        if target is None and mode is RpcServiceMode.DISTRIBUTED:
            raise ValueError("a distributed service needs a target that says where each call goes: target=router")
        if target is not None and mode is not RpcServiceMode.DISTRIBUTED:
            raise ValueError(
                f"a service in the mode {mode.value!r} is here and has no target; "
                "one that is elsewhere has mode='client', one that is here and elsewhere mode='distributed'"
            )
        definition.check_implementation(implementation)
        for method in definition.methods.values():
            self.table.kinds[method.kind].check_implementation(method, implementation)
        if mode is RpcServiceMode.LOCAL:
            self.table.add_known(definition, implementation)
            return implementation
        if any(channel.name == definition.name for channel in self.channels):
            raise RpcContractError(contract.__qualname__, f"there is a channel named {definition.name!r} already")
        if target is None:
            self.table.add(definition, implementation)
            return implementation
        service: C = self._add_distributed(definition, implementation, target)
        return service

    def client(self, contract: type[C], peer: RpcPlace | None = None) -> C:
        """Return an object that looks like the contract and calls a service elsewhere.

        For the same contract and place it is the same object while somebody has it, so that all share what it keeps.

        Args:
            contract: What is called.
            peer: Where: a URL as `ws://host:port`; a peer, as that of a client which is to be called back; `LOCAL`
                for the service of this hub; a ref, which may be rerouted; shards, by the first argument; or a router,
                which says for each call whom it goes to.

        Raises:
            RpcContractError: If the contract can't be one.
            ValueError: If there is no peer to call.
        """
        place = self.client_peers.only() if peer is None else peer
        client: C = self._proxies.get(self.table.define(contract), place)
        return client

    def add_call_kind(self, kind: RpcCallKind) -> None:
        """Make and answer calls of another type."""
        self.table.add_kind(kind)

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
        return await (self.inbound.run(context) if context.peer is not None else self._invocations.run(context))

    def invoke_unattended(self, context: InboundContext) -> None:
        """Make a call of a service here that nobody waits for; its error is logged. It ends with the hub."""
        self._invocations.run_unattended(context)

    def filter_error(self, error: BaseException) -> BaseException:
        """Return what of an error of a handler may be sent; a filter that fails itself lets nothing through."""
        try:
            shown: object = self._error_filter(error)
        except Exception:
            log_failure("an error filter", self._error_filter)
        else:
            if isinstance(shown, BaseException):
                return shown
            logger.error("an error filter has returned %r instead of an error", shown)
        return hide_internals(error)

    @property
    def services(self) -> tuple[ServiceDefinition, ...]:
        """What this hub serves."""
        return tuple(self.table)

    @property
    def is_closed(self) -> bool:
        """Whether the hub was closed, or is about to be."""
        return self._close_task is not None

    # Peers

    def peer(self, url: str) -> RpcClientPeer:
        """Return the peer for a URL, which starts to connect when it is new.

        One that was given up, because the server didn't speak its format, is replaced by a new one.

        Raises:
            ValueError: If the URL isn't one that the transport connects to, as `ws://` or `wss://`.
            RuntimeError: If no event loop runs, or the hub belongs to another one.
        """
        return self.client_peers.get(url)

    def failover(self, *urls: str) -> FailoverRef:
        """Return a ref to the first of several servers, and to the next one whenever that isn't connected.

        Calls that wait for an answer are made again at the next server, unless they may not be sent again.

        Raises:
            ValueError: If there are no URLs, one comes twice, or the transport doesn't connect to one.
        """
        self.check_open()
        ref = FailoverRef(self, urls)
        self._failovers.append(ref)
        return ref

    def target_peer(self, route: RpcRoute) -> RpcPeer:
        """Return the peer that a route leads to.

        Raises:
            ValueError: If it leads to no peer, or to a URL that the transport doesn't connect to.
        """
        target = route.target
        if isinstance(target, RpcLocal):
            raise ValueError(f"{route!r} leads to no peer, but to the service here")
        return self.client_peers.at(route, target) if isinstance(target, str) else target

    def on_peer_opened(self, handler: Callable[[RpcClientPeer], object]) -> Callable[[], None]:
        """Call `handler(peer)` for each new client peer, also one in the place of another; returns how to stop that."""
        return self.client_peers.opened.add(handler)

    @property
    def server_peers(self) -> tuple[RpcServerPeer, ...]:
        """The clients that are connected, or were so not long ago."""
        return tuple(self.clients)

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        origins: OriginValidator = same_origin_with_cookies,
        ssl: SSLContext | None = None,
    ) -> Server:
        """Start to listen for clients; the hub closes the server when it is closed itself.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.
            origins: Which web pages may connect; by default all that bring no cookies, and those of this host.
            ssl: The certificate of the server, so that clients connect at `wss://`; by default nothing is encrypted.

        Raises:
            OSError: If it can't listen there.
        """
        self.check_open()

        def accept(request: ConnectionRequest) -> Receiver | Rejection:
            return self.accept(request) if origins(request) else REFUSED_ORIGIN

        server = await self.network.listen(host, port, accept, self.limits.transport, ssl)
        if self.is_closed:
            # It was, while this waited.
            await server.aclose()
        self.check_open()
        self._servers.append(server)
        return server

    def accept(self, request: ConnectionRequest) -> Receiver | Rejection:
        """Decide about a client that wants to connect; for transports."""
        if self.is_closed:
            return Rejection("The server is shutting down.", 503)
        return self.clients.accept(request, self.client_format.key)

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
            self._draining.add_closer(task)
        # Whoever asks, even a handler that the closing cancels: it is done to the end.
        await asyncio.shield(self._close_task)

    def on_closed(self, handler: Callable[["RpcHub"], object]) -> Callable[[], None]:
        """Call `handler(hub)` when the hub has closed its peers; returns how to stop that."""
        return self._close_handlers.add(handler)

    # For peers, routes and channels

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this hub."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise RuntimeError("a hub belongs to the event loop that it was first used in; make one for each loop")
        return self._loop

    def check_open(self) -> None:
        """Refuse what begins when the hub is closed, or in another event loop.

        Raises:
            RpcDisconnected: If it is closed.
            RuntimeError: If it belongs to another event loop.
        """
        if self.is_closed:
            raise RpcDisconnected("the hub is closed; make a new one")
        _ = self.loop

    def open_channel(self, channel: RpcChannel) -> None:
        """Note a channel, which is closed with the hub.

        Raises:
            RpcContractError: If a service or another channel has its name.
            RpcDisconnected: If the hub is closed.
        """
        if self.is_closed:
            raise RpcDisconnected(f"the hub of channel {channel.name!r} is closed; make a new one")
        if channel.name in self.table or any(other.name == channel.name for other in self.channels):
            raise RpcContractError(channel.name, "there is a service or a channel of this name already")
        self.channels.add(channel)

    def service(self, contract: type[C]) -> C:
        """Return what callers in this process use for a contract: what `add_service` has returned for it.

        Raises:
            RpcServiceNotFound: If there is none.
        """
        return self.table.implementation(contract)

    def _add_distributed(self, definition: ServiceDefinition, implementation: Any, place: RpcPlace) -> Any:
        router = self._proxies.router(place)
        entries = {
            method.name: self.table.kinds[method.kind].entry_method(self, method, implementation, router)
            for method in definition.methods.values()
        }
        service = self._proxies.create(definition, router, place)
        self.table.add(definition, create_proxy(definition, place, entries), service, origin=implementation)
        return service

    async def _handle(self, context: InboundContext) -> Any:
        return await self.table.served(context.method).invoke(context)

    async def _close(self, drain_seconds: float) -> None:
        self.client_peers.closing()
        await asyncio.gather(*[failover.aclose() for failover in self._failovers])
        if drain_seconds > 0:
            await self._draining.run([*self.clients, *self.client_peers], drain_seconds)
        await self._invocations.aclose()
        for channel in tuple(self.channels):
            channel.close()
        # Peers before servers: a client should see calls unanswered, not answered with a cancellation.
        peers = [*self.clients, *self.client_peers]
        tasks = [asyncio.create_task(peer.aclose(), name="rpc close peer") for peer in peers]
        tasks.extend(self.clients.closing_tasks)
        if tasks:
            clock = current_clock()
            timer = clock.call_at(clock.now() + self.limits.close_timeout, lambda: [task.cancel() for task in tasks])
            await asyncio.wait(tasks)
            timer.cancel()
            if any(task.cancelled() for task in tasks):
                logger.warning("a hub was closed while some connections or handlers were still busy")
        self._close_handlers.tell(self)
        await asyncio.gather(*[server.aclose() for server in self._servers])
