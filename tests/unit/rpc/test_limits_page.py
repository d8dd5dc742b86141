"""docs/limits.md has every limit, with its default."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from refusion.rpc import RpcLimits
from refusion.rpc.protocol import SizeLimits
from refusion.rpc.transports import TransportLimits

PAGE = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
TOLD_ELSEWHERE = {"sizes", "transport", "query_timeouts", "command_timeouts", "reconnect_delays"}


@pytest.mark.parametrize("kind", [RpcLimits, SizeLimits, TransportLimits])
def test_each_limit_is_on_the_page_with_its_default(kind: type[RpcLimits | SizeLimits | TransportLimits]) -> None:
    limits = kind()
    section = PAGE.partition(f"`{kind.__name__}`\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d,.]+) \|", section, re.MULTILINE))
    names = [field.name for field in fields(limits) if field.name not in TOLD_ELSEWHERE]
    assert sorted(listed) == sorted(names)
    for name in names:
        value = getattr(limits, name)
        assert listed[name] == (f"{value:,}" if isinstance(value, int) else str(value)), name


def test_what_is_told_elsewhere_is_named() -> None:
    assert all(f"`{name}`" in PAGE for name in TOLD_ELSEWHERE)


def test_the_snippet_of_the_page_makes_a_hub() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, RpcLimits] = {}
    exec(snippet, names)
    assert names["hub"].limits.max_running_calls == 500  # type: ignore[attr-defined]
