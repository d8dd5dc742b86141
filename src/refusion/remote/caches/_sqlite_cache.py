"""A client cache in a file."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeAlias, TypeVar, final

from ._cache import CachedValue
from ._flushing_cache import FlushingCache

if TYPE_CHECKING:
    from ._sqlite_file import SqliteFile

__all__ = ["SqliteCache"]

P = ParamSpec("P")
T = TypeVar("T")

Answer: TypeAlias = asyncio.Future[CachedValue | None]

_READ_TOGETHER: Final = 256
"""How many values are read at most before somebody gets one."""


@final
class SqliteCache(FlushingCache):
    """Keeps values in a SQLite file, from one life of a process to the next.

    Several processes may use one file at the same time. It is bounded: what wasn't used for the longest time goes
    first. A process that is killed in the middle of writing loses what it has set in the last quarter of a second. A
    damaged file is moved aside and begun anew.

    SQLite runs in a thread of its own, from `open` to `aclose`.

    Example:
        ```python
        async with FusionHub(cache=SqliteCache("cache.db")) as hub:
            ...
        ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scope: str = "",
        max_bytes: int | None = 256 * 1024 * 1024,
        max_entries: int | None = 1_000_000,
        flush_delay: float = 0.25,
    ) -> None:
        """Create a cache that isn't open; nothing is read or written before `open`.

        Args:
            path: The file; it and the folders above it are made if they don't exist.
            scope: Whose values these are, as a tenant or a user. Scopes in one file see nothing of each other, and have
                a version each.
            max_bytes: How many bytes keys and data of all scopes may have together; None is no limit. The file is
                somewhat larger.
            max_entries: How many values of all scopes are kept at most; None is no limit.
            flush_delay: How long writes are collected after the first of them, in seconds.

        Raises:
            ValueError: If the path is empty or `:memory:`, or a limit is negative.
        """
        super().__init__(flush_delay=flush_delay)
        self._path = os.fspath(path)
        if self._path in ("", ":memory:"):
            raise ValueError(
                f"a SqliteCache needs a file, and {self._path!r} is none; in memory there is MemoryCache()"
            )
        if min(max_bytes or 0, max_entries or 0) < 0:
            raise ValueError(f"limits are numbers from 0 on, or None: max_bytes={max_bytes}, max_entries={max_entries}")
        self._scope = scope
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._file: SqliteFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._questions: list[tuple[bytes, Answer]] = []

    def __repr__(self) -> str:
        scope = f", scope={self._scope!r}" if self._scope else ""
        return f"SqliteCache({self._path!r}{scope})"

    async def open(self, version: str) -> None:
        """Get ready; called before anything else, by each hub that uses the cache.

        What was written under another version in this scope can't be read any more, and is removed. A process that
        still has the scope open with that version finds and keeps nothing from then on. Opening again, with the same
        version, does nothing.

        Raises:
            ValueError: If it is open with another version.
            FileExistsError: If the file is a SQLite database of something else; it is left as it is.
            OSError: If the folder can't be made, or a damaged file can't be moved.
            sqlite3.Error: If the file can't be opened or written.
            ImportError: If this Python has no SQLite.
        """
        await super().open(version)

    async def open_store(self, version: str) -> None:
        # SQLite is loaded only where it is used.
        from ._sqlite_file import SqliteFile

        self._file = SqliteFile(self._path, self._scope, self._max_bytes, self._max_entries)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="refusion-cache")
        try:
            await self._in_thread(self._file.open, version)
        except BaseException:
            await self.close_store()
            raise

    async def fetch(self, key: bytes) -> CachedValue | None:
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        if not self._questions:
            # To go to the thread takes longer than to read: those who ask in the same turn go together.
            loop.call_soon(self._ask)
        self._questions.append((key, answer))
        return await answer

    def _ask(self) -> None:
        questions, self._questions = self._questions, []
        loop = asyncio.get_running_loop()
        for start in range(0, len(questions), _READ_TOGETHER):
            part = questions[start : start + _READ_TOGETHER]
            try:
                read = loop.run_in_executor(self._thread, self._open_file.fetch, [key for key, _ in part])
            except RuntimeError as error:
                # It was closed in the same turn.
                _answer(part, [error] * len(part))
            else:
                read.add_done_callback(lambda read, part=part: _answer(part, read.result()))  # type: ignore[misc]

    async def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
        await self._in_thread(self._open_file.write, values)

    async def wipe(self) -> None:
        await self._in_thread(self._open_file.wipe)

    async def close_store(self) -> None:
        thread = self._thread
        is_idle = False
        try:
            await self._in_thread(self._open_file.close)
            is_idle = True
        finally:
            self._file = self._thread = None
            if thread is not None:
                # The thread ends by itself; there is nothing to wait for unless this was cancelled.
                thread.shutdown(wait=is_idle)

    @property
    def _open_file(self) -> "SqliteFile":
        if self._file is None:
            raise RuntimeError(f"{self!r} isn't open")
        return self._file

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))


def _answer(questions: Sequence[tuple[bytes, Answer]], outcomes: Sequence[CachedValue | Exception | None]) -> None:
    for (_, answer), outcome in zip(questions, outcomes, strict=True):
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
