"""How much memory this process takes."""

import resource
import sys
from pathlib import Path

__all__ = ["peak_memory", "resident_memory"]

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory() -> int:
    """Return the most bytes that were ever resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def resident_memory() -> int:
    """Return the bytes that are resident now; where that can't be known, the most there ever were."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return peak_memory()
