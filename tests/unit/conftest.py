"""Every test starts with nothing cached by the one before."""

from collections.abc import Iterator

import pytest

from refusion import collect, registry


@pytest.fixture(autouse=True)
def _nothing_cached() -> Iterator[None]:
    yield
    collect()
    # Replicas, which are held for a minute, too.
    for queue in registry()._queues.values():
        queue.release_all()
