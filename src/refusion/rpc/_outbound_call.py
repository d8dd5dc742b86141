"""A call that this side has made, from its making to its outcome."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from refusion._base._clock import TimerHandle, current_clock

from ._contract import MethodDefinition
from ._declaration import RpcExecutionMode
from ._errors import RpcArgumentError, RpcCallTimeout, RpcDisconnected, RpcError, RpcProtocolError, RpcRerouted
from ._limits import RpcCallTimeouts
from .protocol._calls import CallStage
from .protocol._exception_info import error_from_info
from .protocol._message import Headers, RpcMessage

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["OutboundCall"]


# Looking up a member of an enumeration costs as much as a call of a function.
_WAITING: Final = CallStage.WAITING
_ALL: Final = RpcExecutionMode.ALL


class OutboundCall:
    """A call that this side has made.

    It is in its peer's table of outbound calls until it is over. A regular call is over when it is answered;
    a kind whose calls outlive their answers overrides `end`, see `RpcCallKind`.
    """

    __slots__ = (
        "_args",
        "_timers",
        "_values",
        "age",
        "future",
        "headers",
        "id",
        "is_sent",
        "may_reconnect",
        "may_resend",
        "method",
        "peer",
        "stage",
    )

    call_type = 0

    def __init__(self, peer: "RpcPeer", method: MethodDefinition, values: Sequence[Any], headers: Headers = ()) -> None:
        self.peer: RpcPeer = peer
        self.method: MethodDefinition = method
        self.headers: Headers = headers
        """What goes along, each time it is sent."""
        self.id: int = 0
        self.stage: CallStage = _WAITING
        self.is_sent: bool = False
        """Whether it was ever put on a link, so that the other side may know of it."""
        self.age: int = 0
        """How many keep-alive periods it has seen pass without an answer."""
        self.may_reconnect: bool = True
        self.may_resend: bool = True
        if method.mode is not _ALL:
            self.may_reconnect = RpcExecutionMode.ALLOW_RECONNECT in method.mode
            self.may_resend = RpcExecutionMode.ALLOW_RESEND in method.mode
        self.future: asyncio.Future[Any] = peer.loop.create_future()
        self._values = values
        self._args: bytes | None = None
        self._timers: tuple[TimerHandle, ...] = ()

    @property
    def awaits_connection(self) -> bool:
        """Whether it waits for another link when there is none before it was sent."""
        return RpcExecutionMode.AWAIT_CONNECTION in self.method.mode

    @property
    def message(self) -> RpcMessage:
        """What is sent; the same each time, so that the other side can tell a repetition.

        Raises:
            RpcArgumentError: If a value can't be written.
            RpcLimitExceeded: If the values are too large for a message.
        """
        method = self.method
        args = self._args
        if args is None:
            # Not before it is sent: calls that wait for their turn must not hold their arguments twice.
            args = self._args = self.peer.encode_arguments(method, self._values)
            self._values = ()
        return RpcMessage(method.wire_name, self.id, self.call_type, args, self.headers)

    def check_arguments(self) -> None:
        """Refuse arguments that can't be sent, for a call that isn't sent at once.

        Raises:
            RpcArgumentError: If a value can't be written.
            RpcLimitExceeded: If the values are too large for a message.
        """
        method = self.method
        if method.has_argument_streams:
            self.peer.streams.check(method.codecs[self.peer.format].arguments, method.argument_types, self._values)
        else:
            self.peer.encode_arguments(method, self._values)

    def arm(self, timeouts: RpcCallTimeouts, started_at: float | None = None) -> None:
        """End the call when it takes longer than it may, counted from `started_at` or now."""
        clock = current_clock()
        started_at = clock.now() if started_at is None else started_at
        timers: list[TimerHandle] = []
        if timeouts.connect is not None and not self.is_sent:
            timers.append(clock.call_at(clock.now() + timeouts.connect, partial(self._not_sent, timeouts.connect)))
        if timeouts.run is not None:
            timers.append(clock.call_at(started_at + timeouts.run, partial(self._not_answered, timeouts.run)))
        self._timers = tuple(timers)

    async def wait(self) -> Any:
        """Return the result, or raise the error; cancelling cancels the call on the other side, too."""
        try:
            return await self.future
        except asyncio.CancelledError:
            self.cancel()
            raise

    # The answer

    def succeeded(self, message: RpcMessage) -> None:
        """Take the result."""
        method = self.method
        codec = method.codecs[self.peer.format].result
        try:
            (value,) = self.peer.decode(codec, message.args, has_streams=method.has_result_streams)
        except RpcArgumentError as error:
            self.end(RpcArgumentError(f"the result of {method.full_name} doesn't fit: {error}"))
            return
        self.end(None, value)

    def failed(self, message: RpcMessage) -> None:
        """Take the error."""
        try:
            error: Exception = error_from_info(self.peer.format.decode_error(message.args))
        except RpcProtocolError as problem:
            error = problem
        self.end(error)

    def matched(self) -> None:
        """Take word that a cached result still holds; only calls that have one ask for that."""
        self.end(RpcError(f"{self.method.full_name} was answered with a match, but nothing is cached for it"))

    def end(self, error: Exception | None, value: Any = None) -> None:
        """Do what an answer means for the call: it is settled, and over."""
        self.peer.outbound.remove(self.id)
        self.settle(error, value)

    def settle(self, error: Exception | None, value: Any = None) -> None:
        """Give the caller the outcome; only the first one counts."""
        if self._timers:
            self._disarm()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)

    # The end without an answer

    def fail(self, error: Exception) -> None:
        """End the call, whatever its kind, because it can't be sent or answered any more."""
        self.peer.outbound.remove(self.id)
        self.settle(error)

    def cancel(self) -> None:
        """End the call on both sides; the other side is told if it may know of it."""
        self._disarm()
        if self._abandon():
            self.future.cancel()

    def peer_forgot(self) -> None:
        """Be told that the other side, which has answered, won't say any more about the call."""
        self.peer.outbound.remove(self.id)

    def delayed(self) -> None:
        """Be told that the call isn't answered although it was made a while ago; a regular call just waits."""

    def rerouted(self) -> None:
        """Be told that the route has changed: the call is cancelled here, for its caller to make it again elsewhere."""
        if self.stage is not CallStage.WAITING:
            return
        is_final = self.is_sent and not self.may_resend
        if self._abandon():
            name = self.method.full_name
            if is_final:
                self.settle(RpcDisconnected(f"the route has changed during {name}, which may not be sent again"))
            else:
                self.settle(RpcRerouted(f"the route of {name} has changed"))

    def _not_sent(self, seconds: float) -> None:
        if not self.is_sent and self._abandon():
            self.settle(RpcCallTimeout(f"{self.method.full_name} couldn't be sent within {seconds:g} s"))

    def _not_answered(self, seconds: float) -> None:
        if self._abandon():
            self.settle(RpcCallTimeout(f"{self.method.full_name} wasn't answered within {seconds:g} s"))

    def _abandon(self) -> bool:
        if self.peer.outbound.remove(self.id) is None:
            return False
        if self.is_sent:
            self.peer.cancellations.say(self.id)
        return True

    def _disarm(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()
