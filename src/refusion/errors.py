"""The root of the library's errors, and two marks: of errors that pass by themselves, and of those for all eyes."""

__all__ = ["PublicError", "RefusionError", "TransientError"]


class RefusionError(Exception):
    """The base class of every error that the library defines."""


class TransientError(Exception):
    """A mixin for errors that are likely gone on the next try.

    Such an error is cached for a short time only, and states retry it with growing delays. An error of
    yours gets the same treatment when it inherits from this class.
    """


class PublicError(Exception):
    """A mixin for errors whose text may be shown to clients, also where the texts of other errors are hidden."""
