"""The services of `contracts`, as a .NET server of the reference's tests would answer them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from refusion import Computed, compute_method, isolated
from refusion._base._clock import current_clock
from refusion.rpc import RpcNoWait, RpcStream

from .contracts import BasicApi, ControlApi, CounterApi, MatrixComputeApi, MatrixRpcApi

__all__ = ["BasicService", "ControlService", "CounterService", "MatrixComputeService", "MatrixRpcService"]


async def pause(milliseconds: float) -> None:
    """Wait on the library's clock, which tests may move."""
    await current_clock().sleep(milliseconds / 1000)


class BasicService(BasicApi):
    def __init__(self) -> None:
        self._slow_echo_count = 0

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def add_three(self, a: int, b: int, c: int) -> int:
        return a + b + c

    async def greet(self, name: str) -> str:
        return f"Hello, {name}!"

    async def negate(self, value: bool) -> bool:
        return not value

    async def divide(self, a: float, b: float) -> float:
        return a / b

    async def echo(self, message: str | None) -> str | None:
        return message

    async def throw(self, message: str) -> str:
        # Travels as System.InvalidOperationException.
        raise RuntimeError(message)

    async def slow_echo(self, marker: str, delay: int) -> str:
        self._slow_echo_count += 1
        await pause(delay)
        return marker

    async def get_slow_echo_invocation_count(self) -> int:
        return self._slow_echo_count

    async def reset_slow_echo_counter(self) -> None:
        self._slow_echo_count = 0


class CounterService(CounterApi):
    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._notifications: list[str] = []
        self._open_streams = 0
        self._produced = 0

    async def add(self, a: int, b: int) -> int:
        return a + b

    @compute_method
    async def get_counter(self, key: str) -> int:
        return self._counters.get(key, 0)

    @compute_method
    async def get_failing(self, key: str) -> int:
        value = await self.get_counter(key)
        if value == 0:
            raise RuntimeError(f"{key} is zero")
        return value

    @compute_method
    async def get_value(self, value: int) -> int:
        return value

    async def set(self, key: str, value: int) -> None:
        self._counters[key] = value
        self.get_counter.invalidate(key)

    async def increment(self, key: str) -> None:
        await self.set(key, self._counters.get(key, 0) + 1)

    async def get_counter_non_compute(self, key: str) -> int:
        return self._counters.get(key, 0)

    async def notify(self, text: str) -> RpcNoWait:
        self._notifications.append(text)
        return RpcNoWait()

    async def get_notifications(self) -> list[str]:
        return self._notifications

    async def stream_int32(self, count: int) -> RpcStream[int]:
        return RpcStream(self._numbers(count))

    async def stream_int32_no_reconnect(self, count: int) -> RpcStream[int]:
        return RpcStream(self._numbers(count), allow_reconnect=False)

    async def slow_stream(self, count: int) -> RpcStream[int]:
        return RpcStream(self._numbers(count, interval=20))

    async def sum_stream(self, numbers: RpcStream[int]) -> int:
        return sum([number async for number in numbers])

    async def break_stream(self, count: int) -> RpcStream[int]:
        return RpcStream(self._broken_numbers(count))

    async def add_to_each(self, numbers: RpcStream[int], addend: int) -> RpcStream[int]:
        return RpcStream(number + addend async for number in numbers)

    async def take_from_stream(self, numbers: RpcStream[int], count: int) -> list[int]:
        taken: list[int] = []
        async for number in numbers:
            taken.append(number)
            if len(taken) == count:
                break
        return taken

    async def get_open_stream_count(self) -> int:
        return self._open_streams

    async def get_produced_count(self) -> int:
        return self._produced

    async def _numbers(self, count: int, *, interval: float = 0) -> AsyncIterator[int]:
        self._open_streams += 1
        try:
            for number in range(count):
                self._produced += 1
                yield number
                if interval:
                    await pause(interval)
        finally:
            self._open_streams -= 1

    async def _broken_numbers(self, count: int) -> AsyncIterator[int]:
        async for number in self._numbers(count):
            yield number
        raise RuntimeError(f"broken at {count}")


class ControlService(ControlApi):
    def __init__(self, restart: Callable[[], object]) -> None:
        self._restart = restart

    async def request_restart(self) -> None:
        self._restart()


class MatrixComputeService(MatrixComputeApi):
    def __init__(self, slowness: float = 1.0) -> None:
        self._slowness = slowness
        self._computations: Counter[int] = Counter()
        self._invalidations: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @compute_method
    async def compute(self, call_key: int, delay: int, invalidation_delay: int) -> int:
        self._computations[call_key] += 1
        computed = Computed.current()
        assert computed is not None
        with isolated():
            task = asyncio.create_task(self._invalidate_later(computed, call_key, delay + invalidation_delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await pause(delay * self._slowness)
        return call_key

    async def get_compute_invocation_count(self, call_key: int) -> int:
        return self._computations[call_key]

    async def get_invalidation_count(self, call_key: int) -> int:
        return self._invalidations[call_key]

    async def _invalidate_later(self, computed: Computed[Any], call_key: int, delay: int) -> None:
        await pause(delay * self._slowness)
        self._invalidations[call_key] += 1
        computed.invalidate(immediately=True)


class MatrixRpcService(MatrixRpcApi):
    def __init__(self, slowness: float = 1.0) -> None:
        self._slowness = slowness
        self._invocations: Counter[int] = Counter()

    async def rpc(self, call_key: int, delay: int) -> int:
        self._invocations[call_key] += 1
        await pause(delay * self._slowness)
        return call_key

    async def get_invocation_count(self, call_key: int) -> int:
        return self._invocations[call_key]
