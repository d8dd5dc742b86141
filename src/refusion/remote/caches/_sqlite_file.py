"""The SQLite file of a client cache: blocking code for one thread.

Rows belong to a scope, and a scope to a version. Another version, and a wipe, begin a new scope under the same name,
with a number that was never used before. So nothing of the old one is found, whatever else has happened to the file;
and a process that still works with it, under another version, changes nothing.

A file that SQLite finds damaged, when it is opened or at any time later, is moved aside; what was to be done is done
with a new one.
"""

import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, final

from refusion._base._logging import logger

from ._cache import CachedValue
from ._sqlite_schema import connect, is_damage, refuse_foreign, transaction

__all__ = ["SqliteFile"]

T = TypeVar("T")

_GET: Final = "SELECT id, data, hash, checksum FROM entries WHERE scope = ? AND key = ?"
_SET: Final = (
    "INSERT INTO entries (scope, key, data, hash, checksum, size, used) VALUES {} "
    "ON CONFLICT (scope, key) DO UPDATE SET data = excluded.data, hash = excluded.hash, "
    "checksum = excluded.checksum, size = excluded.size, used = excluded.used"
)
_REMOVE: Final = "DELETE FROM entries WHERE (scope, key) IN (VALUES {})"
_TOUCH: Final = (
    "WITH uses (number, at) AS (VALUES {}) UPDATE entries "
    "SET used = (SELECT at FROM uses WHERE number = id) WHERE id IN (SELECT number FROM uses)"
)
_OLDEST: Final = "SELECT id, ifnull(CAST(size AS INTEGER), 0) FROM entries ORDER BY used, size, id"
_MAX_PARAMETERS: Final = 999
"""How many values a statement may have, in every build of SQLite."""

_UNKNOWN: Final = float("inf")
_MAX_TRIES: Final = 3
"""One with the file as it is, one with a new one, and one more should another process damage or move that as well."""

_MAX_TOUCHES: Final = 65_536
"""How many uses are remembered until the next write; further ones are forgotten."""


@final
class SqliteFile:
    """Values of one scope in a file that others may use at the same time."""

    def __init__(self, path: str, scope: str, max_bytes: int | None, max_entries: int | None) -> None:
        self._path = Path(path)
        self._scope = scope
        self._scope_id = 0
        self._version = ""
        self._max_bytes = sys.maxsize if max_bytes is None else max_bytes
        self._max_entries = sys.maxsize if max_entries is None else max_entries
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._touched: dict[int, None] = {}
        # What all rows amount to, at most: replaced ones count twice until the rows are counted again.
        self._bytes = _UNKNOWN
        self._entries = _UNKNOWN

    def open(self, version: str) -> None:
        self._version = version
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._run(lambda _: None)

    def fetch(self, keys: Sequence[bytes]) -> list[CachedValue | Exception | None]:
        """Return what is stored for each of the keys, or why that can't be read."""
        return [self._try_to_fetch(key) for key in keys]

    def _try_to_fetch(self, key: bytes) -> CachedValue | Exception | None:
        try:
            return self._run(lambda db: self._fetch(db, key))
        except Exception as error:
            return error

    def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
        if self._is_moved():
            # It was deleted, or another process has found it damaged.
            self._disconnect()
        self._run(lambda db: self._write(db, values))

    def wipe(self) -> None:
        self._run(self._wipe)

    def close(self) -> None:
        if self._db is not None and self._touched:
            with suppress(sqlite3.Error), transaction(self._db):
                self._touch(self._db)
        self._disconnect()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return work(self._connected())
            except (sqlite3.Error, UnicodeDecodeError) as error:
                self._bytes = self._entries = _UNKNOWN
                # A file that another process moves away in the meantime fails in many ways.
                if tries == _MAX_TRIES or not (is_damage(error) or self._is_moved()):
                    error.add_note(f"the file is {self._path}")
                    raise
                self._put_aside(error)

    def _fetch(self, db: sqlite3.Connection, key: bytes) -> CachedValue | None:
        row = db.execute(_GET, (self._scope_id, key)).fetchone()
        if row is None:
            return None
        number, data, content_hash, checksum = row
        is_sound = isinstance(data, bytes) and isinstance(content_hash, str)
        if not is_sound or _checksum(self._scope_id, key, data, content_hash) != checksum:
            logger.warning("a value in %s has changed by itself, and is removed", self._path)
            with suppress(sqlite3.OperationalError):
                db.execute("DELETE FROM entries WHERE id = ?", (number,))
            return None
        if len(self._touched) < _MAX_TOUCHES:
            self._touched.pop(number, None)
            self._touched[number] = None
        return CachedValue(data, content_hash)

    def _write(self, db: sqlite3.Connection, values: Mapping[bytes, CachedValue | None]) -> None:
        kept = {k: v for k, v in values.items() if v is not None and _size(k, v) <= self._max_bytes}
        with transaction(db):
            if not self._has_scope(db):
                return
            _execute_together(db, _REMOVE, [(self._scope_id, key) for key in values if key not in kept])
            self._touch(db)
            _execute_together(db, _SET, list(self._rows(kept)))
            self._entries += len(kept)
            self._bytes += sum(_size(key, value) for key, value in kept.items())
            if self._entries > self._max_entries or self._bytes > self._max_bytes:
                self._trim(db)

    def _wipe(self, db: sqlite3.Connection) -> None:
        with transaction(db):
            if self._has_scope(db):
                self._begin_scope(db)

    def _rows(self, values: Mapping[bytes, CachedValue]) -> Iterator[tuple[Any, ...]]:
        for used, (key, value) in enumerate(values.items(), time.time_ns()):
            checksum = _checksum(self._scope_id, key, value.data, value.hash)
            yield self._scope_id, key, value.data, value.hash, checksum, _size(key, value), used

    def _touch(self, db: sqlite3.Connection) -> None:
        _execute_together(db, _TOUCH, [(number, used) for used, number in enumerate(self._touched, time.time_ns())])
        self._touched.clear()

    def _trim(self, db: sqlite3.Connection) -> None:
        """Remove what wasn't used for the longest time; a twentieth more than needed, so that it lasts for a while."""
        entries, size_sum = db.execute("SELECT count(*), total(size) FROM entries").fetchone()
        removed: list[tuple[int]] = []
        for number, size in db.execute(_OLDEST):
            if entries <= _low(self._max_entries) and size_sum <= _low(self._max_bytes):
                break
            removed.append((number,))
            entries -= 1
            size_sum -= size
        _execute_together(db, "DELETE FROM entries WHERE id IN (VALUES {})", removed)
        self._entries, self._bytes = entries, size_sum

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if not self._path.exists():
                # What is cached may be private; SQLite gives its other files the same rights.
                self._path.touch(0o600)
            self._identity = _identity(self._path)
            refuse_foreign(self._path)
            db = connect(self._path)
            try:
                self._enter_scope(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        self._touched.clear()
        self._bytes = self._entries = _UNKNOWN
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _enter_scope(self, db: sqlite3.Connection) -> None:
        if self._find_scope(db):
            return
        with transaction(db):
            if not self._find_scope(db):
                self._begin_scope(db)

    def _find_scope(self, db: sqlite3.Connection) -> bool:
        row = db.execute(
            "SELECT id FROM scopes WHERE name = ? AND version = ?", (self._scope, self._version)
        ).fetchone()
        self._scope_id = row[0] if row else 0
        return row is not None

    def _begin_scope(self, db: sqlite3.Connection) -> None:
        # The plus sign keeps SQLite from looking into an index, which may be damaged unnoticed.
        db.execute("DELETE FROM entries WHERE +scope IN (SELECT id FROM scopes WHERE name = ?)", (self._scope,))
        db.execute("DELETE FROM scopes WHERE name = ?", (self._scope,))
        db.execute("INSERT INTO scopes (name, version) VALUES (?, ?)", (self._scope, self._version))
        self._find_scope(db)

    def _has_scope(self, db: sqlite3.Connection) -> bool:
        if db.execute("SELECT 1 FROM scopes WHERE id = ?", (self._scope_id,)).fetchone():
            return True
        was_there = self._scope_id
        if self._find_scope(db):
            # Another process has wiped it.
            return True
        if was_there:
            logger.info("%s was opened with another version; nothing is kept there under %r", self._path, self._version)
        return False

    def _is_moved(self) -> bool:
        return _identity(self._path) != self._identity

    def _put_aside(self, error: Exception) -> None:
        is_moved = self._is_moved()
        self._disconnect()
        if is_moved:
            # Another process was faster.
            return
        # The file itself goes last: whoever finds none begins a new one, whose log must stay.
        for suffix in ("-journal", "-wal", "-shm", ""):
            source, target = Path(f"{self._path}{suffix}"), Path(f"{self._path}.corrupt{suffix}")
            target.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                source.replace(target)
        logger.warning("%s is damaged (%s); it was moved to %s.corrupt, and begun anew", self._path, error, self._path)


def _execute_together(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute a statement, with `{}` in it for the rows, as few times as possible.

    The thread needs the interpreter's lock before and after each time, and where that is busy, waits milliseconds for
    it, with the file locked.
    """
    if not rows:
        return
    width = len(rows[0])
    count = _MAX_PARAMETERS // width
    row = f"({', '.join('?' * width)})"
    for start in range(0, len(rows), count):
        part = rows[start : start + count]
        db.execute(statement.format(", ".join([row] * len(part))), [value for values in part for value in values])


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _checksum(scope_id: int, key: bytes, data: bytes, content_hash: str) -> int:
    return zlib.crc32(data, zlib.crc32(key, zlib.crc32(f"{scope_id} {content_hash}".encode())))


def _size(key: bytes, value: CachedValue) -> int:
    return len(key) + len(value.data)


def _low(limit: int) -> int:
    return limit - limit // 20
