"""Reports failures of foreign code (handlers, timers, hooks) without letting them break the library."""

import logging
from contextlib import suppress

__all__ = ["log_failure", "logger"]

logger = logging.getLogger("refusion")


def log_failure(what: str, source: object) -> None:
    """Log the exception that is being handled; a logger that fails itself is ignored.

    Args:
        what: The kind of code that failed, as in "an invalidation handler".
        source: The handler or object whose code failed.
    """
    with suppress(Exception):
        logger.exception("%s failed: %r", what, source)
