"""Contracts: what a service offers, read off a plain class.

A contract's public `async` methods are its operations. On the wire a service has the name of its class and
a method its name in PascalCase with the number of its parameters, so that .NET and TypeScript peers fit; as
in .NET a slot for cancellation is counted, unless the method says that it has none.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, final

from ._declaration import (
    MethodOptions,
    RpcExecutionMode,
    RpcNoWait,
    legacy_service_names,
    method_options,
    service_name,
)
from ._errors import RpcArgumentError, RpcContractError
from ._legacy_names import LegacyNames
from ._limits import RpcCallTimeouts
from ._stream_types import carries_streams, item_types
from .formats._format import ArgumentCodec, RpcFormat
from .protocol._limits import MAX_METHOD_BYTES

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["MethodCodecs", "MethodDefinition", "ServiceDefinition"]


class MethodCodecs(NamedTuple):
    """How the values of a method are written and read in one format."""

    arguments: ArgumentCodec
    result: ArgumentCodec


@final
class MethodDefinition:
    """One operation of a contract."""

    def __init__(self, contract: type[Any], service: str, name: str, attribute: Any) -> None:
        self.contract = contract
        self.name = name
        """Its name in Python."""
        self.attribute = attribute
        """What the contract's class has under that name."""
        self.function: FunctionType = inspect.unwrap(attribute)
        """The function behind it."""
        self.full_name: str = f"{contract.__qualname__}.{name}"
        self._signature = inspect.signature(self.function)
        parameters = list(self._signature.parameters.values())[1:]
        hints = self._hints()
        for parameter in parameters:
            self._check_parameter(parameter, hints)
        self.argument_types: tuple[Any, ...] = tuple(hints[parameter.name] for parameter in parameters)
        """The declared types of its parameters."""
        if "return" not in hints:
            raise RpcContractError(self.full_name, "its result has no type; annotate it, with None if there is none")
        self.result_type: Any = hints["return"]
        """The declared type of its result."""
        self.is_no_wait: bool = self.result_type is RpcNoWait
        """Whether nobody waits for an answer."""
        options = method_options(self.function)
        self.mode: RpcExecutionMode = RpcExecutionMode.NONE if self.is_no_wait else options.mode
        """What its calls put up with when links break."""
        self.is_command: bool = options.is_command
        """Whether it changes something."""
        self.needs_task: bool = options.needs_task
        """Whether it has to run in a task of its own, even if it awaits nothing."""
        self.timeouts: RpcCallTimeouts | None = options.timeouts
        """How long its calls may take; None if that is up to its kind."""
        self._slots_count = len(parameters) + (options.cancellable and not self.is_no_wait)
        self.wire_name: str = self._wire_name(service, options)
        """Its full name on the wire."""
        self.legacy_names: LegacyNames = {self._with_count(name): v for name, v in options.legacy_names.items()}
        """Names that it had, in place of the part after the service."""
        self.legacy_service_names: LegacyNames = legacy_service_names(contract)
        """Names that its service had."""
        self.kind = 0
        """The call type that it is called with; set by the hub."""
        self.passed_on_to: RpcPeer | None = None
        """Whom its calls are passed on to, if it is served by being a client of it elsewhere; set by the hub."""
        self.has_argument_streams: bool = carries_streams(*self.argument_types)
        """Whether its arguments may hold streams."""
        self.has_result_streams: bool = carries_streams(self.result_type)
        """Whether its result may."""
        self.codecs: Mapping[RpcFormat, MethodCodecs] = _CodecTable(self)
        """How its values are written and read, by format."""
        self._parameters = parameters
        self._keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    @property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """Its parameters, without the instance."""
        return tuple(self._parameters)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """Return one value per parameter, with defaults applied.

        Raises:
            TypeError: If the arguments don't fit the signature.
        """
        if not kwargs and len(args) == len(self.argument_types) and not self._keyword_only:
            return args
        bound = self._signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        return list(bound.arguments.values())[1:]

    def call(self, implementation: Any, values: Sequence[Any]) -> Any:
        """Call the method of an implementation with one value per parameter."""
        method = getattr(implementation, self.name)
        return self.apply(method, values) if self._keyword_only else method(*values)

    def apply(self, function: Callable[..., Any], values: Sequence[Any]) -> Any:
        """Call a function that has the signature of the method with one value per parameter."""
        positional = len(values) - len(self._keyword_only)
        return function(*values[:positional], **dict(zip(self._keyword_only, values[positional:], strict=True)))

    def describe_misfit(self, error: RpcArgumentError) -> RpcArgumentError:
        """Return an error of decoding arguments with the name of the parameter in it."""
        if error.index is None or error.index >= len(self._parameters):
            return RpcArgumentError(f"{self.full_name}: {error.problem}")
        name = self._parameters[error.index].name
        return RpcArgumentError(f"argument {name!r} of {self.full_name}: {error.problem}")

    def __repr__(self) -> str:
        return f"<MethodDefinition {self.full_name} as {self.wire_name!r}>"

    def _with_count(self, name: str) -> str:
        return name if ":" in name else f"{name}:{self._slots_count}"

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise RpcContractError(self.full_name, f"an annotation can't be resolved: {error}") from error

    def _check_parameter(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> None:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RpcContractError(self.full_name, f"{parameter.name!r} takes any number of arguments; name them")
        if parameter.name not in hints:
            raise RpcContractError(self.full_name, f"parameter {parameter.name!r} has no type; annotate it")

    def _wire_name(self, service: str, options: MethodOptions) -> str:
        name = options.name or "".join(part[:1].upper() + part[1:] for part in self.name.split("_"))
        full = f"{service}.{self._with_count(name)}"
        if len(full.encode()) > MAX_METHOD_BYTES:
            raise RpcContractError(self.full_name, f"its wire name is longer than {MAX_METHOD_BYTES} bytes")
        return full


class _CodecTable(dict[RpcFormat, MethodCodecs]):
    """Codecs that are made when they are first asked for."""

    def __init__(self, method: MethodDefinition) -> None:
        super().__init__()
        self._method = method

    def __missing__(self, format_: RpcFormat) -> MethodCodecs:
        method = self._method
        result_type = None if method.is_no_wait else method.result_type
        codecs = MethodCodecs(format_.arguments(method.argument_types), format_.result(result_type))
        self[format_] = codecs
        return codecs


@final
class ServiceDefinition:
    """A contract, read."""

    def __init__(self, contract: type[Any], kind_of: Callable[[Any], int]) -> None:
        """Read a contract.

        Args:
            contract: A plain class.
            kind_of: Says which call type a method of the contract is called with.

        Raises:
            RpcContractError: If it can't be a contract.
        """
        if not isinstance(contract, type):
            raise RpcContractError(repr(contract), "a contract is a class")
        self.contract = contract
        self.name: str = service_name(contract)
        self.methods: dict[str, MethodDefinition] = {}
        """The operations, by wire name."""
        for name, attribute in _public_methods(contract):
            kind = kind_of(attribute)
            if not _is_operation(contract, name, attribute, kind):
                continue
            method = MethodDefinition(contract, self.name, name, attribute)
            method.kind = kind
            if kind != 0 and (method.has_argument_streams or method.has_result_streams):
                raise RpcContractError(
                    method.full_name, "a stream is read once, so a method whose results are kept can't have streams"
                )
            if kind != 0 and method.mode is not RpcExecutionMode.ALL:
                raise RpcContractError(method.full_name, "its calls stay open, so they have to outlive any connection")
            known = self.methods.setdefault(method.wire_name, method)
            if known is not method:
                raise RpcContractError(
                    method.full_name, f"{known.full_name} has the wire name {method.wire_name!r}, too"
                )
        if not self.methods:
            raise RpcContractError(contract.__qualname__, "it has no public async methods, so there is nothing to call")

    def check_types(self, format_: RpcFormat) -> None:
        """Refuse types that no argument or result can be read into.

        Raises:
            RpcContractError: Naming the method.
        """
        for method in self.methods.values():
            try:
                _ = method.codecs[format_]
                for type_ in (*method.argument_types, method.result_type):
                    for item_type in item_types(type_):
                        format_.item(item_type)
                        format_.batch(item_type)
            except TypeError as error:
                raise RpcContractError(method.full_name, f"a type in its signature can't be sent: {error}") from error

    def check_implementation(self, implementation: object) -> None:
        """Refuse an object that lacks a method, or whose method takes other parameters.

        An instance of the contract's own class implements it, too: then the class isn't a mere declaration.

        Raises:
            RpcContractError: Naming the method.
        """
        owner = type(implementation).__qualname__
        for method in self.methods.values():
            attribute = inspect.getattr_static(type(implementation), method.name, None)
            is_inherited = attribute is method.attribute and type(implementation) is not self.contract
            if attribute is None or is_inherited:
                raise RpcContractError(owner, f"it doesn't implement {method.full_name}")
            function = inspect.unwrap(attribute)
            if not inspect.iscoroutinefunction(function):
                raise RpcContractError(owner, f"its {method.name} isn't `async def`, as {method.full_name} is")
            if not _accepts(function, len(method.argument_types), method):
                raise RpcContractError(owner, f"its {method.name} doesn't take the parameters of {method.full_name}")


def _is_operation(contract: type[Any], name: str, attribute: Any, kind: int) -> bool:
    """Tell whether a public method can be called from elsewhere; refuse what looks so, but can't."""
    full_name = f"{contract.__qualname__}.{name}"
    function = inspect.unwrap(attribute)
    if inspect.isasyncgenfunction(function):
        raise RpcContractError(
            full_name, "it is an async generator, which can't be called remotely; return RpcStream(...) of one instead"
        )
    if not inspect.iscoroutinefunction(function):
        if kind != 0:
            raise RpcContractError(full_name, "it must be `async def` to be called remotely")
        return False
    if isinstance(attribute, staticmethod | classmethod):
        raise RpcContractError(full_name, "only a method of instances can be called remotely")
    return True


def _public_methods(contract: type[Any]) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for base in reversed(contract.__mro__[:-1]):
        for name, attribute in vars(base).items():
            if not name.startswith("_") and isinstance(inspect.unwrap(attribute), FunctionType):
                found[name] = attribute  # noqa: PERF403  # a subclass's method takes the place of its base's
    return list(found.items())


def _accepts(function: Callable[..., Any], count: int, method: MethodDefinition) -> bool:
    keyword_only = method._keyword_only
    try:
        inspect.signature(function).bind(None, *[None] * (count - len(keyword_only)), **dict.fromkeys(keyword_only))
    except TypeError:
        return False
    return True
