"""Errors of the RPC layer.

RefusionError
 └ RpcError
    ├ RpcProtocolError     (ValueError)      bytes that don't follow the protocol
    ├ RpcArgumentError     (ValueError)      an argument or result doesn't fit its declared type
    ├ RpcLimitExceeded     (ValueError)      a message is larger than the protocol allows
    ├ RpcUnsupportedFormat (LookupError)     no such serialization format
    ├ RpcServiceNotFound   (LookupError)     nobody serves such a service here
    ├ RpcContractError     (TypeError)       a class can't be a contract, or doesn't fulfil one
    ├ RpcConnectError      (ConnectionError) a connection couldn't be made; transient
    ├ RpcDisconnected      (ConnectionError) the link is gone and the call can't be sent again; transient
    ├ RpcCallTimeout       (TimeoutError)    no answer in time; transient
    ├ RpcCallCancelled                       the other side has cancelled the call; transient
    ├ RpcRerouted                            the call belongs elsewhere now; made again there
    ├ RpcOverloaded                          the other side has too many calls to take another one; transient
    ├ RpcInternalError                       a handler has failed, and why is not for its caller to see
    ├ RpcStreamLost        (ConnectionError) a stream can't be had any more; transient
    ├ RpcStreamUsed        (RuntimeError)    a stream is enumerated a second time
    └ RpcRemoteError                         what the other side has raised
"""

from refusion.errors import RefusionError, TransientError

__all__ = [
    "RpcArgumentError",
    "RpcCallCancelled",
    "RpcCallTimeout",
    "RpcConnectError",
    "RpcContractError",
    "RpcDisconnected",
    "RpcError",
    "RpcInternalError",
    "RpcLimitExceeded",
    "RpcOverloaded",
    "RpcProtocolError",
    "RpcRemoteError",
    "RpcRerouted",
    "RpcServiceNotFound",
    "RpcStreamLost",
    "RpcStreamUsed",
    "RpcUnsupportedFormat",
]


class RpcError(RefusionError):
    """The base class of the errors of the RPC layer."""


class RpcProtocolError(RpcError, ValueError):
    """Raised for bytes that don't follow the protocol."""


class RpcLimitExceeded(RpcError, ValueError):
    """Raised when something is larger than the protocol allows to send."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what = what
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what} has {self.size:,} bytes and {self.limit:,} is the limit; send it in parts"


class RpcArgumentError(RpcError, ValueError):
    """Raised when a value doesn't fit the type that the contract declares for it."""

    def __init__(self, problem: str, index: int | None = None) -> None:
        super().__init__(problem, index)
        self.problem = problem
        self.index = index
        """Which argument it is, counted from 0; None if that isn't known."""

    def __str__(self) -> str:
        return self.problem if self.index is None else f"argument {self.index}: {self.problem}"


class RpcUnsupportedFormat(RpcError, LookupError):
    """Raised when a serialization format isn't known here."""

    def __init__(self, key: str, known: tuple[str, ...], remedy: str = "") -> None:
        super().__init__(key, known, remedy)
        self.key = key
        self.known = known
        self.remedy = remedy
        """What makes it known, if anything does."""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"Unsupported RPC serialization format: {self.key!r} (known here: {', '.join(self.known)}){remedy}"


class RpcServiceNotFound(RpcError, LookupError):
    """Raised when a service is named that the hub doesn't serve."""

    def __init__(self, service: str, known: tuple[str, ...]) -> None:
        super().__init__(service, known)
        self.service = service
        self.known = known

    def __str__(self) -> str:
        known = ", ".join(sorted(self.known)) or "none"
        return f"no service named {self.service!r} here (served: {known}); add it with hub.add_service(...)"


class RpcContractError(RpcError, TypeError):
    """Raised when a class can't be a contract, or an implementation doesn't fulfil one."""

    def __init__(self, contract: str, problem: str) -> None:
        super().__init__(contract, problem)
        self.contract = contract
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.contract}: {self.problem}"


class RpcConnectError(RpcError, ConnectionError, TransientError):
    """Raised when a connection can't be made."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem, status)
        self.problem = problem
        self.status = status
        """The HTTP status that the server has refused it with, if it did."""

    def __str__(self) -> str:
        return self.problem


class RpcDisconnected(RpcError, ConnectionError, TransientError):
    """Raised when the link is gone, and a call with it."""


class RpcCallTimeout(RpcError, TimeoutError, TransientError):
    """Raised when a call isn't answered in time; the other side is told to stop."""


class RpcCallCancelled(RpcError, TransientError):
    """Raised when the other side has cancelled a call by itself."""


class RpcRerouted(RpcError):
    """Raised when a call has reached somebody it doesn't belong to any more; clients with a route make it again."""


class RpcOverloaded(RpcError, TransientError):
    """Raised when a peer has so many calls under way that another one isn't taken."""


class RpcInternalError(RpcError):
    """Raised in place of an error whose text isn't for callers; it is found in the log by its number."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"internal error {self.number}; the log of the service has the details under this number"


class RpcStreamLost(RpcError, ConnectionError, TransientError):
    """Raised to who reads a stream when the rest can't be had: the other side has dropped it, or was restarted."""


class RpcStreamUsed(RpcError, RuntimeError):
    """Raised when a stream of another peer is enumerated a second time, or by two tasks at once."""


class RpcRemoteError(RpcError):
    """What the other side has raised, if there is no builtin error that says the same.

    Where there is one, the error is an instance of that builtin, too: a remote `ValueError` can be caught as such.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        """The name of the error's type on the other side."""
        self.message = message
        """Its text."""

    def __str__(self) -> str:
        return self.message or self.type_name
