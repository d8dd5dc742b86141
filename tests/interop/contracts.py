"""The services that all interoperation tests talk about, as Python contracts.

Names, numbers of parameters and cancellation slots are those of the reference's own tests, so that its peers fit
on either side. Times are milliseconds, as there.
"""

from datetime import datetime

from msgspec import Struct

from refusion import compute_method
from refusion.rpc import RpcNoWait, RpcStream, rpc_method, rpc_service


@rpc_service(name="ITypeScriptTestService")
class BasicApi:
    """Regular calls: .NET methods without a cancellation slot, two of them with the same name."""

    @rpc_method(name="Add:2")
    async def add(self, a: int, b: int) -> int:
        raise NotImplementedError

    @rpc_method(name="Add:3")
    async def add_three(self, a: int, b: int, c: int) -> int:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def greet(self, name: str) -> str:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def negate(self, value: bool) -> bool:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def divide(self, a: float, b: float) -> float:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def echo(self, message: str | None) -> str | None:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def throw(self, message: str) -> str:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def slow_echo(self, marker: str, delay: int) -> str:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def get_slow_echo_invocation_count(self) -> int:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def reset_slow_echo_counter(self) -> None:
        raise NotImplementedError


@rpc_service(name="ITypeScriptTestComputeService")
class CounterApi:
    """Counters that are computed, and what changes them; streams in both directions."""

    async def add(self, a: int, b: int) -> int:
        raise NotImplementedError

    @compute_method
    async def get_counter(self, key: str) -> int:
        raise NotImplementedError

    @compute_method
    async def get_failing(self, key: str) -> int:
        raise NotImplementedError

    @compute_method
    async def get_value(self, value: int) -> int:
        raise NotImplementedError

    async def set(self, key: str, value: int) -> None:
        raise NotImplementedError

    async def increment(self, key: str) -> None:
        raise NotImplementedError

    async def get_counter_non_compute(self, key: str) -> int:
        raise NotImplementedError

    @rpc_method(name="Notify:2")
    async def notify(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    async def get_notifications(self) -> list[str]:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def stream_int32(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def stream_int32_no_reconnect(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    @rpc_method(cancellable=False)
    async def slow_stream(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    async def sum_stream(self, numbers: RpcStream[int]) -> int:
        raise NotImplementedError

    async def break_stream(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    async def add_to_each(self, numbers: RpcStream[int], addend: int) -> RpcStream[int]:
        raise NotImplementedError

    async def take_from_stream(self, numbers: RpcStream[int], count: int) -> list[int]:
        raise NotImplementedError

    async def get_open_stream_count(self) -> int:
        raise NotImplementedError

    async def get_produced_count(self) -> int:
        raise NotImplementedError


@rpc_service(name="IServerControlService")
class ControlApi:
    """Lets a client restart its server."""

    @rpc_method(cancellable=False)
    async def request_restart(self) -> None:
        raise NotImplementedError


@rpc_service(name="IReconnectMatrixTester")
class MatrixComputeApi:
    """A computed that is slow to make, and invalidates itself some time later."""

    @compute_method
    async def compute(self, call_key: int, delay: int, invalidation_delay: int) -> int:
        raise NotImplementedError

    async def get_compute_invocation_count(self, call_key: int) -> int:
        raise NotImplementedError

    async def get_invalidation_count(self, call_key: int) -> int:
        raise NotImplementedError


@rpc_service(name="IReconnectMatrixRpcTester")
class MatrixRpcApi:
    """A slow regular call."""

    async def rpc(self, call_key: int, delay: int) -> int:
        raise NotImplementedError

    async def get_invocation_count(self, call_key: int) -> int:
        raise NotImplementedError


class Point(Struct, frozen=True, rename="pascal"):
    """A DTO with .NET's names."""

    left_side: int
    is_top: bool
    label: str | None = None


@rpc_service(name="IValueService")
class ValueApi:
    """Gives back what it gets."""

    async def echo_int(self, value: int) -> int:
        raise NotImplementedError

    async def echo_float(self, value: float) -> float:
        raise NotImplementedError

    async def echo_text(self, value: str) -> str:
        raise NotImplementedError

    async def echo_flag(self, value: bool) -> bool:
        raise NotImplementedError

    async def echo_bytes(self, value: bytes) -> bytes:
        raise NotImplementedError

    async def echo_list(self, value: list[list[int]]) -> list[list[int]]:
        raise NotImplementedError

    async def echo_map(self, value: dict[str, float | None]) -> dict[str, float | None]:
        raise NotImplementedError

    async def echo_point(self, value: Point) -> Point:
        raise NotImplementedError

    async def echo_time(self, value: datetime) -> datetime:
        raise NotImplementedError

    async def missing(self) -> int:
        raise NotImplementedError


@rpc_service(name="ICallerService")
class CallerApi:
    """Calls back who calls it: `BasicApi` and `CounterApi` there."""

    async def ask_back(self, name: str) -> str:
        raise NotImplementedError

    async def fail_back(self, message: str) -> str:
        raise NotImplementedError

    async def read_back(self, key: str) -> int:
        raise NotImplementedError

    async def echo_back(self, marker: str, delay: int) -> str:
        raise NotImplementedError

    async def sum_back(self, count: int) -> int:
        raise NotImplementedError

    async def take_back(self, count: int) -> list[int]:
        raise NotImplementedError

    async def stream_to_back(self, count: int) -> int:
        raise NotImplementedError
