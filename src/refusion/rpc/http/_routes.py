"""Services and methods by the names that they have in URLs."""

from collections.abc import Sequence
from typing import Any, Final, final

from refusion.rpc._contract import MethodDefinition, ServiceDefinition
from refusion.rpc._errors import RpcError
from refusion.rpc._stream_types import carries_streams

from ._arguments import JSON, ArgumentReader
from ._problems import ProblemError
from ._streams import stream_item_type

__all__ = ["MethodRoute", "Routes", "ServiceRoute"]

_NONE: Final = (None, type(None))


@final
class MethodRoute:
    """One method, as plain HTTP calls it."""

    def __init__(self, service: ServiceDefinition, definition: MethodDefinition) -> None:
        self.definition = definition
        self.wire_name: str = definition.wire_name.removeprefix(f"{service.name}.")
        """Its name on the wire, without that of its service."""
        self.short_name: str = self.wire_name.partition(":")[0]
        """Its name on the wire, without the number of its parameters."""
        self.reader = ArgumentReader(definition)
        self.item_type: Any | None = stream_item_type(definition.result_type)
        """The type of the items, if its result is a stream."""
        self.is_void: bool = definition.result_type in _NONE
        """Whether its result says nothing."""
        self.refusal: str | None = _refusal(definition, self.reader, self.item_type)
        """Why it can't be called with plain HTTP; None if it can."""
        written = definition.result_type if self.item_type is None else self.item_type
        self._codec = None if definition.is_no_wait or self.is_void else JSON.result(written)

    def check_callable(self) -> None:
        """Refuse to call a method that needs more than plain HTTP has.

        Raises:
            ProblemError: If it is one.
        """
        if self.refusal is not None:
            raise ProblemError(422, f"{self.refusal}; call it over WebSocket")

    def encode(self, value: Any) -> bytes:
        """Return a result, or an item of one, as JSON.

        Raises:
            RpcError: If it can't be written.
        """
        assert self._codec is not None  # noqa: S101  # else there is nothing to write
        try:
            return self._codec.encode((value,))
        except RpcError as error:
            # Whoever called can't help it, so it must not look like an error in an argument.
            raise RpcError(f"the result of {self.definition.full_name} can't be sent: {error}") from error


@final
class ServiceRoute:
    """One service, with its methods."""

    def __init__(self, definition: ServiceDefinition) -> None:
        self.definition = definition
        self.methods = [MethodRoute(definition, method) for method in definition.methods.values()]

    def name_of(self, route: MethodRoute) -> str:
        """Return the shortest name on the wire that means this method and no other."""
        alike = [other for other in self.methods if other.short_name == route.short_name]
        return route.short_name if len(alike) == 1 else route.wire_name

    def find(self, name: str) -> MethodRoute:
        """Return the method with this name: that on the wire, with or without its number, or that in Python.

        Raises:
            ProblemError: If there is none, or more than one.
        """
        for exact in self.methods:
            if name in (exact.wire_name, exact.definition.name):
                return exact
        found = [route for route in self.methods if route.short_name == name]
        if len(found) == 1:
            return found[0]
        service = self.definition.name
        if found:
            known = [route.wire_name for route in found]
            raise ProblemError(400, f"{service} has several methods {name!r}: {', '.join(known)}", known=known)
        known = [self.name_of(route) for route in self.methods]
        problem = f"{service} has no method {name!r}" if name else f"say which method of {service} to call"
        raise ProblemError(404, f"{problem} (it has: {', '.join(known)})", known=known)


@final
class Routes:
    """All services of a hub."""

    def __init__(self, services: Sequence[ServiceDefinition]) -> None:
        self.services = [ServiceRoute(service) for service in services]
        self._names = sorted([service.name for service in services])

    def find(self, rest: str) -> MethodRoute:
        """Return the method that a path means: `/{service}/{method}`.

        Raises:
            ProblemError: If there is none, or more than one.
        """
        service, _, method = rest.removeprefix("/").rpartition("/")
        if not service:
            # One name is that of a service, whose methods are told then.
            service, method = method, ""
        return self._find_service(service).find(method)

    def _find_service(self, name: str) -> ServiceRoute:
        for route in self.services:
            if route.definition.name == name:
                return route
        found = [route for route in self.services if route.definition.contract.__name__ == name]
        if len(found) == 1:
            return found[0]
        if found:
            known = [route.definition.name for route in found]
            raise ProblemError(400, f"several services have the contract {name!r}: {', '.join(known)}", known=known)
        problem = f"there is no service {name!r}" if name else "say what to call, as /{service}/{method}"
        served = ", ".join(self._names) or "none"
        raise ProblemError(404, f"{problem} (served: {served})", known=self._names)


def _refusal(definition: MethodDefinition, reader: ArgumentReader, item_type: Any | None) -> str | None:
    for parameter, declared in zip(reader.parameters, definition.argument_types, strict=True):
        if carries_streams(declared):
            return f"argument {parameter.name!r} of {definition.full_name} has a stream in it"
    if not definition.is_no_wait and carries_streams(definition.result_type if item_type is None else item_type):
        return f"the result of {definition.full_name} has a stream in it"
    return None
