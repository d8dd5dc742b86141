"""The pages of the documentation, and the code on them."""

import re
from pathlib import Path

__all__ = ["DOCS", "snippets"]

DOCS = Path(__file__).parents[2] / "docs"


def snippets(page: str) -> list[str]:
    """Return the Python snippets of a page, from top to bottom."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
