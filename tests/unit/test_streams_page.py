"""The page about streams does what it says."""

import inspect
import re
from pathlib import Path

from refusion.rpc import RpcLimits, RpcStream

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"


def test_the_page_states_the_limits_that_hold() -> None:
    page = PAGE.read_text()
    for name, parameter in inspect.signature(RpcStream.__init__).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = "every item" if parameter.default is None else parameter.default
            assert re.search(rf"\| `{name}` \| {default} \|", page), name
    assert f"{RpcLimits().object_release_timeout:.0f} seconds" in page
    assert f"{RpcLimits().max_objects:,} in both directions" in page
