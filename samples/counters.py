"""The kernel alone: what is cached, what is recomputed, and why."""

import asyncio

from refusion import compute_method


class Counters:
    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    @compute_method
    async def get(self, key: str) -> int:
        print(f"  get({key!r}) runs")
        return self._values.get(key, 0)

    @compute_method
    async def total(self, a: str, b: str) -> int:
        print(f"  total({a!r}, {b!r}) runs")
        return await self.get(a) + await self.get(b)

    def increment(self, key: str) -> None:
        self._values[key] = self._values.get(key, 0) + 1
        self.get.invalidate(key)


async def main() -> None:
    counters = Counters()
    print("total:", await counters.total("a", "b"))
    print("again:", await counters.total("a", "b"))

    computed = await counters.total.capture("a", "b")
    counters.increment("a")
    print("after increment:", computed.state.value, "by", computed.invalidation_source)
    print("total:", await counters.total("a", "b"))


if __name__ == "__main__":
    asyncio.run(main())
