"""What is in the SQLite file of a client cache, and how to tell such a file from others."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["connect", "is_damage", "refuse_foreign", "transaction"]

_APPLICATION_ID: Final = 0x52464343
_VERSION: Final = 1
_STATEMENTS: Final = (
    # Numbers of scopes aren't used again: who still has that of one that is gone finds nothing under it.
    "CREATE TABLE scopes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, version TEXT NOT NULL)",
    "CREATE TABLE entries (id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, "
    "hash TEXT NOT NULL, checksum INTEGER NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL, UNIQUE (scope, key))",
    # Sizes are in it so that they can be summed up without a look at the rows.
    "CREATE INDEX entries_by_use ON entries (used, size)",
)
_LAYOUT: Final = (_APPLICATION_ID, _VERSION, frozenset(_STATEMENTS))
_NOTHING: Final = (0, 0, frozenset[str]())

_BUSY_TIMEOUT: Final = 2.0
"""How long other processes are waited for, in seconds: their transactions take milliseconds."""

_MAX_LOG_BYTES: Final = 4 * 1024 * 1024
"""To which size SQLite's log is cut after a large transaction."""


def refuse_foreign(path: Path) -> None:
    """Raise if the file is a database of something else; it is only read for that.

    Raises:
        FileExistsError: If it is.
        sqlite3.Error: If it can't be read.
    """
    if not path.stat().st_size:
        return
    with closing(_connect(f"{path.absolute().as_uri()}?mode=ro", is_uri=True)) as db:
        layout = _layout(db)
    if layout[0] != _APPLICATION_ID and layout[2] != _LAYOUT[2] and layout != _NOTHING:
        raise FileExistsError(
            f"{path} is a SQLite database of something else (application_id {layout[0]}) and was left as it is; "
            "give the cache a file of its own"
        )


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that has our tables; they are made anew if those in it are of another version."""
    db = _connect(str(path))
    try:
        db.execute("PRAGMA cell_size_check = ON")
        if _layout(db) != _LAYOUT:
            with transaction(db):
                if _layout(db) != _LAYOUT:
                    _rebuild(db)
        # It fails if another process is just doing it, which is as good.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # After some errors, as when the disk is full, SQLite has rolled back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def is_damage(error: Exception) -> bool:
    """Whether the file must be damaged, as opposed to busy, on a full disk, or out of reach."""
    # No statement of ours violates a constraint of a sound file, and no message about one has broken text in it.
    if isinstance(error, (sqlite3.IntegrityError, UnicodeDecodeError)):
        return True
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _connect(name: str, *, is_uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(name, uri=is_uri, timeout=_BUSY_TIMEOUT, isolation_level=None)
    db.text_factory = _text
    return db


def _text(data: bytes) -> str:
    """Return text that may be damaged, so that it can be seen to be wrong."""
    return data.decode(errors="replace")


def _layout(db: sqlite3.Connection) -> tuple[int, int, frozenset[str]]:
    """Return the application, the version, and the statements that everything in the file was made with."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    return application, version, frozenset(sql for (sql,) in rows)


def _rebuild(db: sqlite3.Connection) -> None:
    objects = db.execute(
        "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    ).fetchall()
    for kind, name in objects:
        quoted = name.replace('"', '""')
        db.execute(f'DROP {kind} "{quoted}"')
    for statement in _STATEMENTS:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {_VERSION}")
