"""Random histories of links and calls against a model of what each call may come to."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import VirtualClock, settle

from .world import World

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 3)),
        st.tuples(st.just("finish"), st.integers(0, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("pass"), st.sampled_from([0, 1, 10, 30])),
        st.tuples(st.just("turn"), st.integers(1, 6)),
        st.tuples(
            st.just("fault"),
            st.tuples(st.sampled_from(list(Direction)), st.sampled_from(list(Fault)), st.integers(0, 3)),
        ),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_every_call_ends_once_with_its_own_result_and_nothing_is_left(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(play(steps))


async def play(steps: list[tuple[str, Any]]) -> None:
    with VirtualClock() as clock:
        async with World(clock) as world:
            calls: dict[str, asyncio.Task[str]] = {}
            cancelled: set[str] = set()
            losses = 0
            for step, value in steps:
                match step:
                    case "call":
                        for _ in range(value):
                            key = f"k{len(calls)}"
                            calls[key] = world.start(world.worker.wait(key))
                    case "finish":
                        world.service.let_go(f"k{value}")
                    case "cancel":
                        call = calls.get(f"k{value}")
                        if call is not None and not call.done():
                            call.cancel()
                            cancelled.add(f"k{value}")
                    case "cut":
                        losses += 1
                        world.network.cut()
                    case "crash":
                        losses += 1
                        await world.restart_server()
                    case "pass":
                        await clock.advance(value)
                    case "turn":
                        await settle(value)
                    case _:
                        losses += 1
                        world.fault_once(value[0], value[1], skip=value[2])
            # The network recovers. A frame that was lost while keep-alives went on is missed by nobody, in TCP it
            # can't be, so the connection is made anew.
            world.network.fault = lambda direction, frame: None
            await world.cut()
            await clock.advance(60)
            for key in calls:
                world.service.let_go(key)
            await clock.advance(60)

            for key, call in calls.items():
                assert call.done(), f"{key} hangs"
                if key in cancelled:
                    assert call.cancelled()
                else:
                    assert call.result() == f"{key} done"
            runs = Counter(world.log)
            assert all(count <= 1 + losses + 1 for count in runs.values()), runs
            assert len(world.peer.outbound) == 0
            assert [list(peer.inbound) for peer in world.server.server_peers] in ([[]], [])
