"""Services that tests share, with a log of the bodies that ran."""

from refusion import compute_method


class Counters:
    """The service of the examples."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.log: list[str] = []

    @compute_method
    async def get(self, key: str) -> int:
        self.log.append(f"get({key})")
        return self.values.get(key, 0)

    @compute_method
    async def total(self, a: str, b: str = "b") -> int:
        self.log.append(f"total({a}, {b})")
        return await self.get(a) + await self.get(b)

    @compute_method
    def size(self) -> int:
        self.log.append("size()")
        return len(self.values)

    def set(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)
        self.size.invalidate()
