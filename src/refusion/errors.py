"""The root of the library's errors, and the mark of errors that pass by themselves."""

__all__ = ["RefusionError", "TransientError"]


class RefusionError(Exception):
    """The base class of every error that the library defines."""


class TransientError(Exception):
    """A mixin for errors that are likely gone on the next try.

    Such an error is cached for a short time only, and states retry it with growing delays. An error of
    yours gets the same treatment when it inherits from this class.
    """
