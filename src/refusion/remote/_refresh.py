"""Asking a server about a value that is shown already."""

import asyncio
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, final

from refusion._base._logging import log_failure, logger
from refusion.compute import Computed, InvalidationSource
from refusion.compute._async_method import AsyncMethod

from ._attempt import UNANSWERED, Attempt
from ._cached_call import CachedCall
from ._known_values import KnownValue
from ._outbound_compute_call import InvalidatedBeforeResult

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["UNCONFIRMED", "Refresh"]

UNCONFIRMED: Final = InvalidationSource("its server couldn't be asked about it")


@final
class Refresh:
    """The question, in the background and on behalf of nobody, whether a value from the cache is true.

    If it is, the replica that shows it is synchronized from then on; if not, another one takes its place. If there is
    no answer the replica is invalidated, and whoever wants the value asks for itself. The question ends with the
    replica: when that is invalidated, or nobody has it any more.
    """

    def __init__(self, hub: "FusionHub", call: CachedCall, known: KnownValue, replica: Computed[Any]) -> None:
        self._hub = hub
        self._call = call
        self._known = known
        self._replica = weakref.ref(replica)

    def start(self) -> None:
        """Begin to ask."""
        replica = self._replica()
        assert replica is not None  # noqa: S101  # its computation has started this
        peer = self._call.peer
        loop = peer.loop
        running = peer.spawn(self._run(), name="refresh a replica", context=Context())
        # What the replica refers to lives as long as that.
        task = weakref.ref(running)

        def cancel() -> None:
            pending = task()
            if pending is not None:
                pending.cancel()

        def stop(_: object) -> None:
            # May be called in any thread, at any time.
            if not loop.is_closed():
                loop.call_soon_threadsafe(cancel)

        replica.on_invalidated(stop)
        self._replica = weakref.ref(replica, stop)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        replica = self._replica()
        if replica is not None and (task.cancelled() or not task.result()):
            replica.invalidate(immediately=True, source=UNCONFIRMED)

    async def _run(self) -> bool:
        """Settle what becomes of the replica; returns False if there was no answer."""
        await self._delay()
        try:
            return await self._ask()
        except InvalidatedBeforeResult:
            # Whoever wants the value asks for the one that is true now.
            return False
        except Exception as error:
            logger.warning("%s couldn't be refreshed: %s", self._call.method.full_name, error)
            return False

    async def _delay(self) -> None:
        delayer = self._hub.refresh_delayer
        if delayer is not None:
            try:
                await delayer(self._call.method, self._call.values)
            except Exception:
                log_failure("a refresh delayer", delayer)

    async def _ask(self) -> bool:
        call = self._call
        attempt = call.attempt(self._known, may_fall_back=False)
        try:
            value = await attempt.run()
        except UNANSWERED:
            raise
        except Exception as error:
            if not call.learn_error(attempt):
                raise
            return self._supersede(attempt, None, None, error.with_traceback(None))
        known = call.learn(attempt, self._known, value)
        if known is not self._known or not attempt.has_brought(value):
            return self._supersede(attempt, known, value)
        replica = self._replica()
        if replica is None:
            attempt.release()
        else:
            call.confirm(replica, attempt)
        return True

    def _supersede(
        self, attempt: Attempt, known: KnownValue | None, value: Any, error: Exception | None = None
    ) -> bool:
        replica = self._replica()
        function = None if replica is None else replica._function
        successor = None
        if replica is not None and isinstance(function, AsyncMethod):
            successor = function.supersede(replica, value, error)
        if successor is None:
            attempt.release()
        else:
            self._call.replace(successor, attempt, known)
        return True
