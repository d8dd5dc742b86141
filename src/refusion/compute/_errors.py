"""Errors of the compute kernel.

RefusionError
 ├ ComputeDeclarationError  (TypeError)     a method can't be a compute method as declared
 ├ UnhashableArgument       (TypeError)     an argument can't be part of a cache key
 ├ ComputedNotReady         (RuntimeError)  the output of a running computation was read
 ├ CyclicComputation        (RuntimeError)  a computation needs its own result
 ├ ComputeModeError         (RuntimeError)  a dependency was asked for inside invalidating() and the like
 ├ NothingCaptured          (LookupError)   no compute method was called
 └ ComputationCancelled     (TransientError) the body kept being cancelled from inside
"""

from refusion.errors import RefusionError, TransientError

__all__ = [
    "ComputationCancelled",
    "ComputeDeclarationError",
    "ComputeModeError",
    "ComputedNotReady",
    "CyclicComputation",
    "NothingCaptured",
    "UnhashableArgument",
]


class ComputeDeclarationError(RefusionError, TypeError):
    """Raised when something that can't be a compute method is declared as one."""

    def __init__(self, method: str, problem: str) -> None:
        super().__init__(method, problem)
        self.method = method
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.method} can't be a compute method: {self.problem}"


class UnhashableArgument(RefusionError, TypeError):
    """Raised when a compute method gets an argument that can't be part of a cache key."""

    def __init__(self, method: str, parameter: str, type_name: str) -> None:
        super().__init__(method, parameter, type_name)
        self.method = method
        self.parameter = parameter
        self.type_name = type_name

    def __str__(self) -> str:
        return (
            f"argument {self.parameter!r} of {self.method} is an unhashable {self.type_name}, so its result "
            f"can't be cached; pass a tuple, a frozenset or a frozen object, or declare "
            f"@compute_method(key=...) to say what identifies a call"
        )


class ComputedNotReady(RefusionError, RuntimeError):
    """Raised when the output of a computed is read while it is still being computed."""

    def __init__(self, computed: str) -> None:
        super().__init__(computed)
        self.computed = computed

    def __str__(self) -> str:
        return f"{self.computed} is still COMPUTING and has no output yet; await its method or update() first"


class CyclicComputation(RefusionError, RuntimeError):
    """Raised when a computation, directly or through others, calls itself with the same arguments."""

    def __init__(self, computed: str) -> None:
        super().__init__(computed)
        self.computed = computed

    def __str__(self) -> str:
        return f"{self.computed} needs its own result to be computed; break the cycle"


class ComputeModeError(RefusionError, RuntimeError):
    """Raised when `use()` is called where values aren't computed, as inside `invalidating()`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} can't be used inside invalidating() or existing(): no values are computed there"


class NothingCaptured(RefusionError, LookupError):
    """Raised by `Computed.capture` when the given function called no compute method."""

    def __init__(self, function: str) -> None:
        super().__init__(function)
        self.function = function

    def __str__(self) -> str:
        return f"{self.function} called no compute method, so there is nothing to capture"


class ComputationCancelled(RefusionError, TransientError):
    """Raised when a computation was cancelled from inside, not by its caller, on every try.

    A plain `asyncio.CancelledError` would look like a cancellation of the caller's own task.
    """

    def __init__(self, computed: str, tries: int) -> None:
        super().__init__(computed, tries)
        self.computed = computed
        self.tries = tries

    def __str__(self) -> str:
        return f"{self.computed} was cancelled from inside its body on each of {self.tries} tries"
