"""Clients: objects that look like a contract and call the other side."""

import functools
from typing import TYPE_CHECKING, Any, cast

from ._contract import MethodDefinition, ServiceDefinition

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["create_proxy", "remote_function"]


def create_proxy(definition: ServiceDefinition, peer: "RpcPeer", attributes: dict[str, Any]) -> Any:
    """Return an instance of a subclass of the contract with the given attributes in its class.

    The contract's constructor isn't called: it is about the service, not about who calls it.
    """
    contract = definition.contract
    bases: tuple[type[Any], ...] = (contract,)
    proxy_class: Any = type(f"{contract.__name__}Client", bases, {"__module__": contract.__module__})
    # After the class is made: the contract may do something with methods that a subclass declares.
    for name, attribute in attributes.items():
        setattr(proxy_class, name, attribute)
        if hasattr(attribute, "__set_name__"):
            attribute.__set_name__(proxy_class, name)

    def describe(self: object) -> str:
        return f"<client of {definition.name} at {peer!r}>"

    proxy_class.__repr__ = describe
    return cast(Any, object).__new__(proxy_class)


def remote_function(method: MethodDefinition, peer: "RpcPeer") -> Any:
    """Return a method that calls the other side."""

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await peer.call(method, method.bind(args, kwargs))

    return call
