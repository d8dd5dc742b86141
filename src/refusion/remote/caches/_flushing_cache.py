"""Client caches that write later, in batches: nobody waits for a slow store."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, Final, final

from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import logger
from refusion._base._retries import RetryDelays

from ._cache import CachedValue, ClientCache

__all__ = ["FlushingCache"]

_RETRIES: Final = RetryDelays(1.0, 60.0)
_UNKNOWN: Final = CachedValue(b"", "")
_ENTRY_COST: Final = 256
"""About what an entry takes in memory besides its bytes."""


class FlushingCache(ClientCache):
    """The base of caches whose store takes its time: a file, a database, another process.

    What is set is collected, and written a moment later in one batch; reads find it from the beginning. A store of
    your own defines the five methods `open_store`, `fetch`, `write`, `wipe` and `close_store`. All but `fetch` are
    called one at a time.

    A batch that can't be written is logged and tried again with the next one, after a pause that grows from a second
    to a minute. What waits in memory is bounded: a store that falls behind that far is wiped, since what it has may
    have been replaced, and begins anew.

    A cache that isn't open, since `open` has failed or after `aclose`, finds nothing and keeps nothing.
    """

    def __init__(self, *, flush_delay: float = 0.25, max_pending_bytes: int = 64 * 1024 * 1024) -> None:
        """Create a cache that isn't open.

        Args:
            flush_delay: How long writes are collected after the first of them, in seconds.
            max_pending_bytes: How much memory they may take; as much again may be on its way to the store. From half
                of it on they are written at once.

        Raises:
            ValueError: If one of them is negative.
        """
        if flush_delay < 0 or max_pending_bytes < 0:
            raise ValueError(
                "a cache can't be flushed before something is set, nor keep less than nothing: "
                f"flush_delay={flush_delay}, max_pending_bytes={max_pending_bytes}"
            )
        self._flush_delay = flush_delay
        self._max_pending_bytes = max_pending_bytes
        self._version: str | None = None
        self._users = 0
        self._pending = _Batch()
        self._flushing: _Batch | None = None
        self._failures = 0
        self._timer: TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None

    @abstractmethod
    async def open_store(self, version: str) -> None:
        """Open the store with nothing in it that was written under another version.

        When that isn't certain it has to raise, after letting go of everything: `close_store` isn't called then.
        """

    @abstractmethod
    async def fetch(self, key: bytes) -> CachedValue | None:
        """Return what is stored for `key`; may be called at any time while the store is open, several times at once."""

    @abstractmethod
    async def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
        """Store these values, and remove those that are None; return when that is persistent.

        When it raises, all of them are given again, with newer ones; so it doesn't matter how many were stored.
        """

    @abstractmethod
    async def wipe(self) -> None:
        """Remove everything."""

    @abstractmethod
    async def close_store(self) -> None:
        """Let go of files, connections and threads."""

    async def open(self, version: str) -> None:
        await self._run_alone(lambda: self._open(version))

    async def get(self, key: bytes) -> CachedValue | None:
        if self._version is None:
            return None
        value = self._unwritten(key)
        if value is not _UNKNOWN:
            return value
        stored = await self.fetch(key)
        # It may have been set meanwhile, or everything cleared.
        value = self._unwritten(key)
        return stored if value is _UNKNOWN else value

    @final
    def set(self, key: bytes, value: CachedValue) -> None:
        self._put(key, value)

    @final
    def remove(self, key: bytes) -> None:
        self._put(key, None)

    async def flush(self) -> None:
        """Return when everything that was set or removed before is persistent; raises what that has raised.

        Several tasks may call this at once, also while a batch is being written. Cancelling one of them doesn't stop
        the writing.
        """
        await self._run_alone(self._write_pending)

    async def clear(self) -> None:
        """Forget everything: at once for readers, and in the store when this returns.

        When it raises, readers go on finding nothing from before, and the store is wiped with the next batch.

        Raises:
            RuntimeError: If the cache isn't open.
        """
        if self._version is None:
            raise RuntimeError(f"{self!r} can't be cleared because it isn't open; clear it before its hub is closed")
        self._pending = _Batch(wipes=True)
        await self.flush()

    async def aclose(self) -> None:
        """Flush and, if nobody else has opened it, close the store; `open` opens it again.

        The store is closed also when the last batch can't be written; that is raised then.
        """
        await self._run_alone(self._close)

    def _put(self, key: bytes, value: CachedValue | None) -> None:
        if self._version is None:
            return
        self._pending.put(key, value)
        if self._timer is None and self._work is None:
            self._arm()
        if self._pending.size > self._max_pending_bytes // 2:
            self._relieve()

    def _unwritten(self, key: bytes) -> CachedValue | None:
        """Return what the store is going to have for `key`; `_UNKNOWN` if that is what it has."""
        for batch in (self._pending, self._flushing):
            if batch is not None:
                value = batch.values.get(key, _UNKNOWN)
                if value is not _UNKNOWN:
                    return value
                if batch.wipes:
                    return None
        return _UNKNOWN

    async def _run_alone(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while self._work is not None:
            await asyncio.wait([self._work])
        await asyncio.shield(self._start(work()))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # An empty context: the store works for everybody, not on behalf of the task that happens to be first.
        task = asyncio.create_task(work, name=f"{type(self).__name__} at work", context=Context())
        task.add_done_callback(self._on_done)
        self._work = task
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._work = None
        if not task.cancelled():
            # Whoever was to see the exception may have been cancelled.
            task.exception()
        if self._pending and self._timer is None:
            self._arm()

    def _arm(self) -> None:
        clock = current_clock()
        self._timer = clock.call_at(clock.now() + (_RETRIES.delay(self._failures) or self._flush_delay), self._on_due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_due(self) -> None:
        self._timer = None
        if self._work is None:
            self._start(self._flush_in_background())

    def _relieve(self) -> None:
        is_behind = self._flushing is not None or self._failures > 0
        if is_behind and self._pending.size > self._max_pending_bytes:
            self._give_up()
        elif not is_behind and self._work is None:
            self._start(self._flush_in_background())

    def _give_up(self) -> None:
        logger.warning("%r can't write as fast as values come; what it has is dropped", self)
        self._pending = _Batch(wipes=True)

    async def _flush_in_background(self) -> None:
        try:
            await self._write_pending()
        except Exception as error:
            logger.warning("writing to %r failed, and will be tried again: %s", self, _describe(error))

    async def _write_pending(self) -> None:
        self._disarm()
        if not self._pending:
            return
        batch, self._pending = self._pending, _Batch()
        self._flushing = batch
        try:
            if batch.wipes:
                await self.wipe()
                batch.wipes = False
            if batch.values:
                await self.write(batch.values)
        except BaseException:
            self._failures += 1
            self._take_back(batch)
            raise
        finally:
            self._flushing = None
        self._failures = 0

    def _take_back(self, batch: "_Batch") -> None:
        if not self._pending.wipes:
            newer, self._pending = self._pending, batch
            for key, value in newer.values.items():
                batch.put(key, value)
        if self._pending.size > self._max_pending_bytes:
            self._give_up()

    async def _open(self, version: str) -> None:
        if self._version == version:
            self._users += 1
            return
        if self._version is not None:
            raise ValueError(f"{self!r} is open with version {self._version!r}, and can't be with {version!r} as well")
        await self.open_store(version)
        self._failures = 0
        self._version = version
        self._users = 1

    async def _close(self) -> None:
        if self._version is None:
            return
        self._users -= 1
        if self._users > 0:
            await self._write_pending()
            return
        self._version = None
        try:
            await self._write_pending()
        finally:
            self._pending = _Batch()
            self._disarm()
            await self.close_store()


def _describe(error: Exception) -> str:
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


@final
class _Batch:
    """What is to be written: after everything else was removed, or on top of it."""

    __slots__ = ("size", "values", "wipes")

    def __init__(self, *, wipes: bool = False) -> None:
        self.wipes = wipes
        self.values: dict[bytes, CachedValue | None] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return self.wipes or bool(self.values)

    def put(self, key: bytes, value: CachedValue | None) -> None:
        replaced = self.values.get(key, _UNKNOWN)
        if replaced is _UNKNOWN:
            self.size += _ENTRY_COST + len(key)
        elif replaced is not None:
            self.size -= len(replaced.data)
        if value is not None:
            self.size += len(value.data)
        self.values[key] = value
