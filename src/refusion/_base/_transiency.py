"""Which errors pass by themselves, and which stay until somebody fixes something."""

from collections.abc import Callable
from enum import Enum

from refusion.errors import TransientError

from ._logging import log_failure

__all__ = ["Transiency", "TransiencyClassifier", "classify_error", "transiency_of"]


class Transiency(Enum):
    """What may be expected of an error when the same thing is tried again."""

    TRANSIENT = "transient"
    """Likely gone on the next try: kept for a short time only, retried with growing delays."""

    NON_TRANSIENT = "non-transient"
    """Most likely the same on the next try: kept for longer, retried without growing delays."""

    TERMINAL = "terminal"
    """Can't get better: never retried because of its age."""


TransiencyClassifier = Callable[[BaseException], Transiency]

# RuntimeError is Python's "invalid operation": the program is wrong, not the moment.
_NON_TRANSIENT: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def classify_error(error: BaseException) -> Transiency:
    """Classify an error the way the library does unless it is told otherwise.

    A `TransientError` is transient whatever else it is. Errors of the program (bad values, types, names,
    lookups, states, missing files and rights) are not. Everything else is: `OSError`, `TimeoutError`,
    connection errors, and errors that nobody knows.
    """
    if isinstance(error, TransientError):
        return Transiency.TRANSIENT
    return Transiency.NON_TRANSIENT if isinstance(error, _NON_TRANSIENT) else Transiency.TRANSIENT


def transiency_of(error: BaseException, classifier: TransiencyClassifier) -> Transiency:
    """Ask `classifier`; if it fails the error counts as transient, so that it isn't kept for good."""
    try:
        return classifier(error)
    except Exception:
        log_failure("an error classifier", classifier)
        return Transiency.TRANSIENT
