"""Clients: objects that look like a contract and call the other side."""

import functools
from typing import TYPE_CHECKING, Any

from ._contract import MethodDefinition, ServiceDefinition

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["create_proxy", "remote_function"]


def create_proxy(definition: ServiceDefinition, peer: "RpcPeer", attributes: dict[str, Any]) -> Any:
    """Return an instance of a subclass of the contract with the given attributes in its class.

    The contract's constructor isn't called: it is about the service, not about who calls it.
    """
    contract = definition.contract
    proxy_class: type[Any] = type(f"{contract.__name__}Client", (contract,), {"__module__": contract.__module__})
    # After the class is made: the contract may do something with methods that a subclass declares.
    for name, attribute in attributes.items():
        setattr(proxy_class, name, attribute)
        set_name = getattr(type(attribute), "__set_name__", None)
        if set_name is not None:
            set_name(attribute, proxy_class, name)
    proxy_class.__repr__ = lambda self: f"<client of {definition.name} at {peer!r}>"
    return proxy_class.__new__(proxy_class)


def remote_function(method: MethodDefinition, peer: "RpcPeer") -> Any:
    """Return a method that calls the other side."""

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await peer.call(method, method.bind(args, kwargs))

    return call
