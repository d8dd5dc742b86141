"""What can be a contract, what fulfils it, and what its methods are called on the wire."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion.rpc import (
    RpcContractError,
    RpcHub,
    RpcNoWait,
    RpcServiceNotFound,
    ServiceDefinition,
    rpc_method,
    rpc_service,
)

from .world import Worker, WorkerService


class Api:
    """One of each."""

    async def get_price(self, symbol: str) -> float:
        raise NotImplementedError

    async def ping(self) -> None:
        raise NotImplementedError

    async def log_it(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def bare(self, a: int, b: int) -> int:
        raise NotImplementedError

    @rpc_method(name="Other")
    async def named(self) -> int:
        raise NotImplementedError

    @rpc_method(name="Raw:7")
    async def raw(self) -> int:
        raise NotImplementedError

    async def _private(self, x: Any) -> None:
        raise NotImplementedError

    def local(self) -> int:
        raise NotImplementedError


def wire_names(contract: type[Any]) -> set[str]:
    return set(ServiceDefinition(contract, lambda attribute: 0).methods)


def test_wire_names_are_those_that_dotnet_peers_use() -> None:
    assert wire_names(Api) == {
        "Api.GetPrice:2",  # with the slot for cancellation
        "Api.Ping:1",
        "Api.LogIt:1",  # nobody waits, so there is nothing to cancel
        "Api.Bare:2",
        "Api.Other:1",
        "Api.Raw:7",
    }


def test_a_service_can_have_a_name_of_its_own_that_subclasses_dont_inherit() -> None:
    @rpc_service(name="IStockApi")
    class StockApi:
        async def get(self) -> int:
            raise NotImplementedError

    class More(StockApi):
        async def put(self) -> int:
            raise NotImplementedError

    assert wire_names(StockApi) == {"IStockApi.Get:1"}
    assert wire_names(More) == {"More.Get:1", "More.Put:1"}


def test_parameters_by_keyword_only_are_bound_and_passed_as_such() -> None:
    class Keyed:
        async def find(self, text: str, *, limit: int = 5) -> int:
            raise NotImplementedError

    class KeyedService(Keyed):
        async def find(self, text: str, *, limit: int = 5) -> int:
            return limit

    (method,) = ServiceDefinition(Keyed, lambda attribute: 0).methods.values()
    assert list(method.bind(("x",), {})) == ["x", 5]
    assert list(method.bind(("x",), {"limit": 7})) == ["x", 7]
    with pytest.raises(TypeError):
        method.bind(("x", 7), {})
    with pytest.raises(StopIteration, match="7"):
        method.call(KeyedService(), ["x", 7]).send(None)


class Nothing:
    def local(self) -> int:
        return 1


class AnyArgs:
    async def get(self, *args: int) -> int:
        raise NotImplementedError


class AnyKeywords:
    async def get(self, **values: int) -> int:
        raise NotImplementedError


class NoParameterType:
    async def get(self, key) -> int:  # type: ignore[no-untyped-def]
        raise NotImplementedError


class NoResultType:
    async def get(self, key: int):  # type: ignore[no-untyped-def]
        raise NotImplementedError


class UnknownType:
    async def get(self, key: "Unknown") -> int:  # type: ignore[name-defined]  # noqa: F821
        raise NotImplementedError


class TwoStructsInOne:
    async def get(self, key: "Api | Worker | dict[int, list[AnyArgs]] | list[int] | set[int]") -> int:
        raise NotImplementedError


class Generator:
    async def get(self) -> AsyncIterator[int]:
        yield 1


class Static:
    @staticmethod
    async def get() -> int:
        raise NotImplementedError


class OfTheClass:
    @classmethod
    async def get(cls) -> int:
        raise NotImplementedError


class SameName:
    async def get_it(self) -> int:
        raise NotImplementedError

    async def getIt(self) -> int:
        raise NotImplementedError


class LongName:
    @rpc_method(name="x" * 1025)
    async def get(self) -> int:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        (Nothing, "Nothing: it has no public async methods, so there is nothing to call"),
        (AnyArgs, "AnyArgs.get: 'args' takes any number of arguments; name them"),
        (AnyKeywords, "AnyKeywords.get: 'values' takes any number of arguments; name them"),
        (NoParameterType, "NoParameterType.get: parameter 'key' has no type; annotate it"),
        (NoResultType, "NoResultType.get: its result has no type; annotate it, with None if there is none"),
        (UnknownType, "UnknownType.get: an annotation can't be resolved: name 'Unknown' is not defined"),
        (TwoStructsInOne, "TwoStructsInOne.get: a type in its signature can't be sent"),
        (Generator, "Generator.get: it is an async generator, which can't be called remotely"),
        (Static, "Static.get: only a method of instances can be called remotely"),
        (OfTheClass, "OfTheClass.get: only a method of instances can be called remotely"),
        (SameName, "SameName.getIt: SameName.get_it has the wire name 'SameName.GetIt:1', too"),
        (LongName, "LongName.get: its wire name is longer than 1024 bytes"),
        (WorkerService(), "a contract is a class"),
    ],
)
def test_what_cant_be_a_contract_is_refused_with_the_reason(contract: Any, problem: str) -> None:
    hub = RpcHub()
    with pytest.raises(RpcContractError) as error:
        hub.table.define(contract)
    assert problem in str(error.value)


async def test_a_declaration_error_comes_from_both_ends(world: Any) -> None:
    with pytest.raises(RpcContractError):
        world.server.add_service(AnyArgs, AnyArgs())
    with pytest.raises(RpcContractError):
        world.client.client(AnyArgs, world.peer)


class Missing(Worker):
    pass


class NotAsync(WorkerService):
    def add(self, a: int, b: int = 10) -> int:  # type: ignore[override]
        return 0


class FewerParameters(WorkerService):
    async def add(self, a: int) -> int:  # type: ignore[override]
        return 0


class MoreParameters(WorkerService):
    async def add(self, a: int, b: int, c: int) -> int:  # type: ignore[override]
        return 0


@pytest.mark.parametrize(
    ("implementation", "problem"),
    [
        (Missing(), "Missing: it doesn't implement Worker.add"),
        (object(), "object: it doesn't implement Worker.add"),
        (NotAsync(), "NotAsync: its add isn't `async def`, as Worker.add is"),
        (FewerParameters(), "FewerParameters: its add doesn't take the parameters of Worker.add"),
        (MoreParameters(), "MoreParameters: its add doesn't take the parameters of Worker.add"),
    ],
)
def test_what_doesnt_fulfil_the_contract_is_refused_with_the_reason(implementation: Any, problem: str) -> None:
    with pytest.raises(RpcContractError) as error:
        RpcHub().add_service(Worker, implementation)
    assert str(error.value) == problem


def test_a_class_may_be_its_own_contract() -> None:
    RpcHub().add_service(WorkerService, WorkerService())


def test_more_parameters_with_defaults_are_fine() -> None:
    class Generous(WorkerService):
        async def add(self, a: int, b: int = 10, c: int = 0) -> int:
            return 0

    RpcHub().add_service(Worker, Generous())


def test_two_services_cant_have_one_name() -> None:
    hub = RpcHub()
    hub.add_service(Worker, WorkerService())
    with pytest.raises(RpcContractError, match="there is a service named 'Worker' already"):
        hub.add_service(Worker, WorkerService())


def test_a_hub_tells_what_it_serves() -> None:
    hub = RpcHub()
    service = WorkerService()
    hub.add_service(Worker, service)
    assert hub.service(Worker) is service
    with pytest.raises(RpcServiceNotFound, match=r"no service named 'Api' here \(served: Worker\)"):
        hub.service(Api)


def test_a_method_tells_who_it_is() -> None:
    (method,) = ServiceDefinition(NoArguments, lambda attribute: 0).methods.values()
    assert repr(method) == "<MethodDefinition NoArguments.get as 'NoArguments.Get:1'>"


class NoArguments:
    async def get(self) -> int:
        raise NotImplementedError
