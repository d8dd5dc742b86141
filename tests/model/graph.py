"""A service whose graph of values is data, and the naive model of it that recomputes everything."""

import asyncio
from dataclasses import dataclass

from refusion import compute_method


@dataclass(frozen=True)
class Node:
    """One derived value: a sum over sources and earlier nodes, modulo a number."""

    sources: tuple[int, ...]
    nodes: tuple[int, ...]
    modulus: int
    is_sync: bool = False
    swallows: bool = False


class Broken(ValueError):
    """What a source raises that is set to None."""


class Model:
    """The naive model: nothing is cached."""

    def __init__(self, sources: list[int | None], nodes: list[Node]) -> None:
        self.sources = sources
        self.nodes = nodes

    def source(self, index: int) -> int:
        value = self.sources[index]
        if value is None:
            raise Broken(str(index))
        return value

    def node(self, index: int) -> int:
        node = self.nodes[index]
        try:
            total = sum(self.source(i) for i in node.sources) + sum(self.node(i) for i in node.nodes)
        except Broken:
            if not node.swallows:
                raise
            total = -1
        return total % node.modulus


class GraphService:
    """The same values as compute methods."""

    def __init__(self, model: Model, *, suspends: bool = True) -> None:
        self.model = model
        self.suspends = suspends
        self.runs: dict[tuple[str, int], int] = {}

    def _ran(self, kind: str, index: int) -> None:
        self.runs[kind, index] = self.runs.get((kind, index), 0) + 1

    @compute_method
    def sync_source(self, index: int) -> int:
        self._ran("source", index)
        return self.model.source(index)

    @compute_method
    async def source(self, index: int) -> int:
        if self.suspends:
            await asyncio.sleep(0)
        return self.sync_source(index)

    @compute_method
    def sync_node(self, index: int) -> int:
        self._ran("sync", index)
        node = self.model.nodes[index]
        try:
            total = sum(self.sync_source(i) for i in node.sources) + sum(self.sync_node(i) for i in node.nodes)
        except Broken:
            if not node.swallows:
                raise
            total = -1
        return total % node.modulus

    @compute_method
    async def node(self, index: int) -> int:
        self._ran("node", index)
        node = self.model.nodes[index]
        if node.is_sync:
            return self.sync_node(index)
        calls = [self.source(i) for i in node.sources] + [self.node(i) for i in node.nodes]
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors and not node.swallows:
            raise errors[0]
        total = -1 if errors else sum(result for result in results if isinstance(result, int))
        return total % node.modulus

    def set(self, index: int, value: int | None) -> None:
        self.model.sources[index] = value
        self.sync_source.invalidate(index)
