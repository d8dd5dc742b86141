"""What a hub serves: services and their methods, and who takes each kind of message."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final

from ._call_kind import MessageHandler, RpcCallKind
from ._contract import MethodDefinition, ServiceDefinition
from ._errors import RpcContractError, RpcServiceNotFound
from ._legacy_names import all_legacy_wire_names, legacy_wire_name
from ._peer import RpcPeer
from ._proxy import client_target
from ._routes import RpcLocal
from ._served_method import ServedMethod
from ._system_messages import SYSTEM_MESSAGES
from .protocol._method_names import MethodNames
from .protocol._version_set import API_SCOPE, VersionSet

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["ServiceTable"]

C = TypeVar("C")


@final
class ServiceTable:
    """The services of one hub, by name, and what takes messages, by wire name."""

    def __init__(self, hub: "RpcHub", format_: "RpcFormat") -> None:
        self._hub = hub
        self._format = format_
        self._definitions: dict[type[Any], ServiceDefinition] = {}
        self._services: dict[str, tuple[ServiceDefinition, Any]] = {}
        self._known: dict[str, Any] = {}
        self._origins: dict[str, Any] = {}
        self._methods: dict[str, ServedMethod] = {}
        self._merged: dict[frozenset[tuple[str, str]], _MergedHandlers] = {}
        self.handlers: dict[str, MessageHandler] = dict(SYSTEM_MESSAGES)
        """What takes messages."""
        self.names: MethodNames = MethodNames()
        """All names that are known, also by their hashes."""
        self.kinds: dict[int, RpcCallKind] = {}
        """The kinds of calls that are made and answered, by call type."""

    def __iter__(self) -> Iterator[ServiceDefinition]:
        return (definition for definition, _ in self._services.values())

    def __contains__(self, name: object) -> bool:
        return name in self._services

    def define(self, contract: type[Any]) -> ServiceDefinition:
        """Read a contract, once.

        Raises:
            RpcContractError: If it can't be one.
        """
        definition = self._definitions.get(contract)
        if definition is None:
            definition = ServiceDefinition(contract, self._kind_of)
            definition.check_types(self._format)
            self._definitions[contract] = definition
        return definition

    def add(self, definition: ServiceDefinition, implementation: Any, used: Any = None, *, origin: Any = None) -> None:
        """Offer a service.

        Args:
            definition: Its contract.
            implementation: Who answers calls of other processes.
            used: What callers in this process use, if that is something else.
            origin: Who runs what is run here, if that is something else.

        Raises:
            RpcContractError: If its name is taken.
        """
        self._check_free(definition)
        target = client_target(implementation)
        if isinstance(target, RpcLocal):
            raise RpcContractError(
                definition.contract.__qualname__,
                "a client of LOCAL would serve itself; add an implementation, or a client of a URL",
            )
        self._check_names(definition)
        self._services[definition.name] = (definition, implementation)
        self._known[definition.name] = implementation if used is None else used
        self._origins[definition.name] = implementation if origin is None else origin
        for name, method in definition.methods.items():
            method.passed_on_to = target if isinstance(target, RpcPeer) else None
            self._methods[name] = served = ServedMethod(self._hub, method, implementation)
            self.set_handler(name, served.receive)
            for known_as in all_legacy_wire_names(method):
                self.names.add(known_as)

    def add_known(self, definition: ServiceDefinition, used: Any) -> None:
        """Let callers in this process find a service that isn't offered to others.

        Raises:
            RpcContractError: If its name is taken.
        """
        self._check_free(definition)
        self._known[definition.name] = used

    def _kind_of(self, attribute: Any) -> int:
        """Return the call type of a method of a contract."""
        return next((kind.call_type for kind in self.kinds.values() if kind.claims(attribute)), 0)

    def _check_free(self, definition: ServiceDefinition) -> None:
        if definition.name in self._known:
            raise RpcContractError(
                definition.contract.__qualname__, f"there is a service named {definition.name!r} already"
            )

    def _check_names(self, definition: ServiceDefinition) -> None:
        """Refuse a method that would be called by the old name of another one."""
        taken = {
            name: served.definition
            for served in self._methods.values()
            for name in all_legacy_wire_names(served.definition)
        }
        for method in definition.methods.values():
            for name in all_legacy_wire_names(method):
                other = taken.setdefault(name, method)
                if other is not method:
                    raise RpcContractError(method.full_name, f"{other.full_name} is or was called {name!r}, too")

    def add_kind(self, kind: RpcCallKind) -> None:
        """Take and make calls of a kind."""
        self.kinds[kind.call_type] = kind
        for name, handler in kind.system_methods().items():
            self.set_handler(name, handler)

    def set_handler(self, name: str, handler: MessageHandler) -> None:
        """Let a handler take the messages of a wire name."""
        self.handlers[name] = handler
        for merged in self._merged.values():
            if name not in merged.old:
                merged.all[name] = handler

    def remove_handler(self, name: str) -> None:
        """Let nobody take the messages of a wire name any more."""
        del self.handlers[name]
        for merged in self._merged.values():
            if name not in merged.old:
                del merged.all[name]

    def implementation(self, contract: type[C]) -> C:
        """Return what callers in this process use for a contract.

        Raises:
            RpcServiceNotFound: If there is nothing.
        """
        definition = self.define(contract)
        try:
            used: C = self._known[definition.name]
        except KeyError:
            raise RpcServiceNotFound(definition.name, tuple(self._known)) from None
        return used

    def origin(self, contract: type[C]) -> C | None:
        """Return who runs the calls of a contract that are run here; None if nobody does."""
        origin: C | None = self._origins.get(self.define(contract).name)
        return origin

    def served(self, method: MethodDefinition) -> ServedMethod:
        """Return what answers the calls of a method.

        Raises:
            RpcServiceNotFound: If nothing does.
        """
        served = self._methods.get(method.wire_name)
        if served is None:
            raise RpcServiceNotFound(method.contract.__name__, tuple(self._services))
        return served

    def handlers_for(self, versions: VersionSet) -> Mapping[str, MessageHandler]:
        """Return what takes the messages of a peer, by the wire names that its version of the API has.

        It is kept up to date, but for old names of services that are added later.
        """
        version = versions[API_SCOPE]
        old: dict[str, ServedMethod] = {}
        for served in self._methods.values():
            name = legacy_wire_name(served.definition, version)
            if name is not None:
                old[name] = served
        if not old:
            return self.handlers
        # By the names and not by the version, which is anything that a client says.
        key = frozenset((name, served.definition.wire_name) for name, served in old.items())
        merged = self._merged.get(key)
        if merged is None:
            handlers: dict[str, MessageHandler] = {name: served.receive for name, served in old.items()}
            merged = self._merged[key] = _MergedHandlers(handlers, {**self.handlers, **handlers})
        return merged.all


class _MergedHandlers(NamedTuple):
    """What takes the messages of all peers that use the same old names."""

    old: Mapping[str, MessageHandler]
    all: dict[str, MessageHandler]
