"""Waiting for one of several things."""

import asyncio
from collections.abc import Awaitable

__all__ = ["wait_first"]


async def wait_first(*waits: Awaitable[object]) -> list[bool]:
    """Wait until one of several things has happened, and return which have; cancelling leaves nothing behind.

    Raises:
        Exception: What one of those that have happened has raised.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        have_happened = [task.done() for task in tasks]
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        return have_happened
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
