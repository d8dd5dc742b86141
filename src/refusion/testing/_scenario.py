"""What a service has to say about itself to be driven: how it is made, edited and asked."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

__all__ = ["ComputeCall", "ConsistencyScenario"]

C = TypeVar("C")
S = TypeVar("S")


class ComputeCall(NamedTuple):
    """One call of a compute method."""

    method: str
    """The name of the method."""

    arguments: tuple[Any, ...] = ()
    """What it is called with."""

    def __str__(self) -> str:
        return f"{self.method}({', '.join(map(repr, self.arguments))})"


class ConsistencyScenario(ABC, Generic[C, S]):
    """A compute service that `eventually_consistent` can drive; `C` is its contract, `S` its implementation.

    The data lives in the scenario, or in what that opens; a service is one life of the server's process on top of it.
    """

    contract: ClassVar[type[Any]]
    """What clients call."""

    @abstractmethod
    def create_service(self) -> S:
        """Return a new service that knows nothing but the data, as after a restart."""

    @abstractmethod
    async def edit(self, service: S, random: Random) -> None:
        """Change something at random, as the service's own process would."""

    @abstractmethod
    def calls(self) -> Sequence[ComputeCall]:
        """Return all calls whose replicas are compared; asked for once."""

    def command(self, client: C, random: Random) -> Awaitable[object] | None:
        """Change something at random by a call of a client, or return None, as by default, if there is no such call.

        It may be run twice when its answer is lost, and may end with an `RpcError`.
        """
        return None

    async def truth(self, service: S, call: ComputeCall) -> Any:
        """Return, or raise, what the call has to end with; `service` was just created, so that nothing in it is old."""
        return await getattr(service, call.method)(*call.arguments)
