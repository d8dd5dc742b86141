"""Every test starts with nothing cached by the one before."""

from collections.abc import Iterator

import pytest

from refusion import collect


@pytest.fixture(autouse=True)
def _nothing_cached() -> Iterator[None]:
    yield
    collect()
