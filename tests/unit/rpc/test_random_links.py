"""Random schedules of links and calls of every kind, against what must be true of each of them.

In whatever order links break, frames are lost or repeated, servers are restarted, and calls are made, cancelled and
answered:

- every call ends exactly once: with its own result, or with its cancellation. Only a call that may not be sent again
  may end with `RpcDisconnected`, and only a stream whose server was restarted with `RpcStreamLost`;
- a stream brings its items in order, each once, and all of them unless it was lost;
- within one life of a server a call isn't run twice at once, and isn't run again unless something was lost or
  repeated since its run has ended: that is what the protocol allows. One that may not be sent again is run once at
  most, whatever happens;
- a value that is older than one that the server has confirmed is never shown again, also after all was let go of;
- when the network is well again every replica that is consistent has the value of the server, and is known to have
  it, whether or not the client has a cache with values of before;
- nothing is left in any table of either side, and no source of a stream stays open.

`REFUSION_SCHEDULES` says how many schedules are tried; `make schedules` tries ten thousand.
"""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from .schedules import STEP_COUNT, describe, play

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover

COUNT = int(os.environ.get("REFUSION_SCHEDULES", "400"))

# By itself Hypothesis prefers lists of five.
SCHEDULES = st.integers(0, 30).flatmap(
    lambda count: st.lists(st.integers(0, STEP_COUNT - 1), min_size=count, max_size=count)
)


@pytest.mark.timeout(60 + COUNT // 5)
def test_whatever_happens_every_call_ends_once_as_it_should_and_nothing_is_left() -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(codes=SCHEDULES, has_cache=st.booleans())
        def check(codes: list[int], has_cache: bool) -> None:
            note(", ".join(describe(codes)))
            runner.run(play(codes, has_cache=has_cache))

        check()
