"""Clients: objects that look like a contract and call the other side."""

import asyncio
import functools
import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from ._call_context import OutboundContext
from ._contract import MethodDefinition, ServiceDefinition
from ._errors import RpcContractError
from ._routed_calls import call_routed
from ._routes import RpcRouter

if TYPE_CHECKING:
    from ._hub import RpcHub
    from ._peer import RpcPeer

__all__ = ["client_target", "create_proxy", "remote_function", "routed_function"]

_TARGET: Final = "_refusion_rpc_target"


def create_proxy(definition: ServiceDefinition, target: object, attributes: dict[str, Any]) -> Any:
    """Return an instance of a subclass of the contract with the given attributes in its class.

    The contract's constructor isn't called: it is about the service, not about who calls it. What else the
    contract has is refused with an error that tells why, rather than run here.
    """
    contract = definition.contract
    bases: tuple[type[Any], ...] = (contract,)
    proxy_class: Any = type(f"{contract.__name__}Client", bases, {"__module__": contract.__module__})
    # After the class is made: the contract may do something with methods that a subclass declares.
    for name, attribute in (_refusals(contract) | attributes).items():
        setattr(proxy_class, name, attribute)
        if hasattr(attribute, "__set_name__"):
            attribute.__set_name__(proxy_class, name)

    def describe(self: object) -> str:
        return f"<client of {definition.name} at {target!r}>"

    def refuse(self: object, name: str) -> NoReturn:
        raise AttributeError(
            f"{self!r} has no {name!r}: a client has the public async methods of {contract.__qualname__} only",
            name=name,
            obj=self,
        )

    setattr(proxy_class, _TARGET, target)
    proxy_class.__repr__ = describe
    proxy_class.__getattr__ = refuse
    return cast(Any, object).__new__(proxy_class)


def client_target(client: object) -> Any:
    """Return whom a client was made to call; None if it is no client."""
    return getattr(type(client), _TARGET, None)


def remote_function(method: MethodDefinition, peer: "RpcPeer") -> Any:
    """Return a method that calls the other side."""
    outbound = peer.hub.outbound

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        values = method.bind(args, kwargs)
        if not outbound.is_empty or method.is_no_wait:
            return await outbound.run(OutboundContext(method, values, peer))
        # What `OutboundCall.wait` does, without a coroutine of its own.
        made = peer.start(method, values)
        try:
            return await made.future
        except asyncio.CancelledError:
            made.cancel()
            raise

    return call


def routed_function(method: MethodDefinition, hub: "RpcHub", router: RpcRouter) -> Any:
    """Return a method that calls whom the router says."""

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await call_routed(hub, method, method.bind(args, kwargs), router)

    return call


def _refusals(contract: type[Any]) -> dict[str, Any]:
    """Return what takes the place of the contract's public methods and properties."""
    refusals: dict[str, Any] = {}
    for name in dir(contract):
        attribute = inspect.getattr_static(contract, name)
        if name.startswith("_"):
            continue
        if isinstance(attribute, property | functools.cached_property):
            refusals[name] = property(_absent)
        elif isinstance(inspect.unwrap(attribute), FunctionType) and not isinstance(attribute, staticmethod):
            refusals[name] = _refused_method(contract, name)
    return refusals


def _absent(self: object) -> NoReturn:
    # Python goes on to `__getattr__`, which tells why.
    raise AttributeError


def _refused_method(contract: type[Any], name: str) -> Any:
    def refuse(self: object, *args: Any, **kwargs: Any) -> NoReturn:
        raise RpcContractError(
            f"{contract.__qualname__}.{name}", "it isn't `async def`, so it can't be called remotely"
        )

    return refuse
