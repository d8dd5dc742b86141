"""Random graphs, random edits, reads and cancellations: every read is what recomputing everything would give."""

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refusion import collect, registry

from .graph import Broken, GraphService, Model, Node

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover

SOURCES = 4


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 8))):
        nodes.append(
            Node(
                sources=tuple(draw(st.lists(st.integers(0, SOURCES - 1), max_size=3))),
                nodes=tuple(draw(st.lists(st.integers(0, index - 1), max_size=3))) if index else (),
                modulus=draw(st.sampled_from([2, 5, 1_000])),
                is_sync=draw(st.booleans()),
                swallows=draw(st.booleans()),
            )
        )
    return nodes


values = st.one_of(st.none(), st.integers(-5, 5))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, SOURCES - 1), values),
        st.tuples(st.just("read"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("read many"), st.integers(0, 7), st.integers(2, 5)),
        st.tuples(st.just("start"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("turn"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("collect"), st.just(0), st.just(0)),
        st.tuples(st.just("invalidate"), st.integers(0, 7), st.just(0)),
    ),
    max_size=40,
)


def outcome_of(model: Model, index: int) -> Any:
    try:
        return model.node(index)
    except Broken as error:
        return str(error) and Broken


async def read(service: GraphService, index: int) -> Any:
    try:
        return await service.node(index)
    except Broken:
        return Broken


async def play(nodes: list[Node], script: list[tuple[str, int, Any]]) -> None:
    model = Model([0] * SOURCES, nodes)
    service = GraphService(model)
    running: list[asyncio.Task[Any]] = []
    for action, first, second in script:
        index = first % len(nodes)
        match action:
            case "set":
                service.set(first, second)
            case "read":
                assert await read(service, index) == outcome_of(model, index)
            case "read many":
                results = await asyncio.gather(*[read(service, index) for _ in range(second)])
                assert set(results) == {outcome_of(model, index)}
            case "start":
                running.append(asyncio.create_task(read(service, index)))
            case "cancel":
                if running:
                    running[first % len(running)].cancel()
            case "turn":
                for _ in range(first):
                    await asyncio.sleep(0)
            case "collect":
                collect()
            case "invalidate":
                service.node.invalidate(index)
            case _:
                raise AssertionError(action)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for index in range(len(nodes)):
        assert await read(service, index) == outcome_of(model, index)
    before = dict(service.runs)
    for index in range(len(nodes)):
        await read(service, index)
    assert service.runs == before, "reading again has computed again"
    collect()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), steps)
def test_every_read_is_what_recomputing_everything_would_give(
    nodes: list[Node], script: list[tuple[str, int, Any]]
) -> None:
    asyncio.run(play(nodes, script))


@settings(max_examples=100, deadline=None)
@given(graphs(), st.lists(st.tuples(st.integers(0, SOURCES - 1), st.integers(-5, 5)), max_size=10))
def test_an_edit_recomputes_only_what_depends_on_it_and_each_value_once(
    nodes: list[Node], edits: list[tuple[int, int]]
) -> None:
    async def check() -> None:
        model = Model([0] * SOURCES, nodes)
        service = GraphService(model)
        held = [await service.node.capture(index) for index in range(len(nodes))]
        for source, value in edits:
            service.runs.clear()
            service.set(source, value)
            stale = {index for index, computed in enumerate(held) if computed.is_invalidated}
            held = [await service.node.capture(index) for index in range(len(nodes))]
            ran = {index for kind, index in service.runs if kind == "node"}
            assert ran == stale
            assert set(service.runs.values()) <= {1}
        collect()

    asyncio.run(check())


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_a_dropped_graph_leaves_nothing_in_the_registry(nodes: list[Node]) -> None:
    async def check() -> None:
        service = GraphService(Model([0] * SOURCES, nodes))
        for index in range(len(nodes)):
            await read(service, index)

    collect()
    gc.collect()
    registry().prune()
    before = registry().counters.computed_count
    asyncio.run(check())
    collect()
    # The frames of callers, in the traceback of an error, may make a cycle with it.
    gc.collect()
    assert registry().counters.computed_count == before
