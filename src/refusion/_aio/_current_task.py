"""`asyncio.current_task` at a price that the hot path can pay."""

import asyncio
import sys
from asyncio import get_running_loop
from typing import Any

__all__ = ["current_task"]

if sys.version_info >= (3, 12):
    from asyncio import current_task as current_task
else:
    # Python 3.11 has it in Python only, at twice the cost of the empty computation that asks for it.
    _current_tasks: Any = asyncio.tasks._current_tasks  # type: ignore[attr-defined]

    def current_task() -> "asyncio.Task[Any] | None":
        """Return the running task, or None outside of any; there must be a running event loop."""
        task: asyncio.Task[Any] | None = _current_tasks.get(get_running_loop())
        return task
