"""The page about streams does what it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"


def test_the_snippets_of_the_page_are_a_program_that_prints_what_it_says(tmp_path: Path) -> None:
    page = PAGE.read_text()
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    (expected,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


def test_the_page_states_the_limits_that_hold() -> None:
    import inspect

    from refusion.rpc import RpcLimits, RpcStream

    page = PAGE.read_text()
    for name, parameter in inspect.signature(RpcStream.__init__).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = "every item" if parameter.default is None else parameter.default
            assert re.search(rf"\| `{name}` \| {default} \|", page), name
    assert f"{RpcLimits().object_release_timeout:.0f} seconds" in page
    assert f"{RpcLimits().max_objects:,} in both directions" in page
