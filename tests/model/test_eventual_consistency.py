"""A hard life: eight clients, ten thousand edits, two hundred cuts and five restarts, on real connections."""

import gc
from typing import Any

import pytest

from refusion import FusionHub, MemoryCache
from refusion.testing import eventually_consistent

from .warehouse import WarehouseScenario

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover


# A server of asyncio that is closed just when it has accepted a connection forgets that one, and leaves it to the GC.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("transport", "has_cache", "seed"), [("picows", False, 1), ("websockets", False, 2), ("picows", True, 3)]
)
async def test_after_any_trouble_no_replica_is_stale_no_call_hangs_and_none_was_needless(
    transport: str, has_cache: bool, seed: int
) -> None:
    def create_client_hub(**options: Any) -> FusionHub:
        return FusionHub(cache=MemoryCache() if has_cache else None, **options)

    report = await eventually_consistent(
        WarehouseScenario(),
        seed=seed,
        clients=8,
        edits=10_000,
        cuts=200,
        restarts=5,
        transport=transport,
        create_client_hub=create_client_hub,
    )

    assert (report.edits, report.cuts, report.restarts) == (10_000, 200, 5)
    assert report.reconnects >= 200
    assert report.hung_calls == 0
    assert report.remote_calls <= report.calls_bound
    assert report.replicas <= report.replicas_bound
    assert report.computations <= report.computations_bound
    # It was worth the while: all was read by all, and again and again.
    assert report.first_reads == 8 * 37
    assert report.replicas_invalidated > 20 * report.first_reads
    assert report.commands > 1_000
    # Not in another test, which would have to answer for it.
    gc.collect()
