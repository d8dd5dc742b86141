"""The pages whose snippets make a program: it runs, and prints what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import DOCS, snippets


@pytest.mark.parametrize("name", ["calls.md", "peer-state.md", "routing.md", "streams.md", "testing.md"])
def test_the_snippets_of_a_page_are_a_program_that_prints_what_it_says(name: str, tmp_path: Path) -> None:
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(snippets(name)))
    (expected,) = re.findall(r"```text\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


def test_every_page_can_be_found_from_the_index_and_links_lead_somewhere() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"({page.name})" not in index] == []
    root = DOCS.parent
    for page in (*DOCS.rglob("*.md"), root / "README.md", root / "CONTRIBUTING.md", root / "benchmarks" / "README.md"):
        prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", prose):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
