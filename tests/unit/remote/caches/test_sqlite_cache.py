"""The client cache in a file: bounds, scopes, other processes, and what becomes of a damaged file."""

import asyncio
import logging
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refusion.remote.caches import CachedValue, SqliteCache, _sqlite_file, _sqlite_schema

A, B = CachedValue(b"a", "hash of a"), CachedValue(b"b", "hash of b")
PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


async def opened(path: Path, version: str = "1", **options: Any) -> SqliteCache:
    cache = SqliteCache(path, **options)
    await cache.open(version)
    return cache


async def filled(path: Path, count: int = 100, size: int = 500) -> dict[bytes, CachedValue]:
    """Make a file with values, of which every seventh is larger than a page."""
    values = {
        b"key %d" % i: CachedValue(random.Random(i).randbytes(size if i % 7 else 9_000), f"hash {i}")
        for i in range(count)
    }
    cache = await opened(path)
    for key, value in values.items():
        cache.set(key, value)
    await cache.aclose()
    return values


async def found(cache: SqliteCache, *keys: bytes) -> list[bytes]:
    return [key for key in keys if await cache.get(key) is not None]


def run(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement).fetchall()


# Damage


@pytest.mark.parametrize("content", [b"garbage", b"garbage " * 1_000, b"SQLite format 3\0" + b"\xff" * 5_000])
async def test_a_file_that_is_no_database_is_moved_aside(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    Path(f"{path}.corrupt").write_text("from last year")
    Path(f"{path}.corrupt-wal").write_text("from last year")
    cache = await opened(path)
    assert "is damaged" in caplog.text
    cache.set(b"k", A)
    await cache.aclose()
    assert Path(f"{path}.corrupt").read_bytes() == content
    assert not Path(f"{path}.corrupt-wal").exists()
    cache = await opened(path)
    assert await cache.get(b"k") == A
    await cache.aclose()


@pytest.mark.parametrize("size", [50, 100, 4_096, 5_000, 40_960])
async def test_a_truncated_file_is_begun_anew(path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    os.truncate(path, size)
    cache = await opened(path)
    assert await found(cache, *[b"key %d" % i for i in range(100)]) == []
    cache.set(b"key 1", A)
    await cache.aclose()
    assert Path(f"{path}.corrupt").stat().st_size == size
    assert caplog.text.count("is damaged") == 1


async def test_damage_that_a_read_comes_upon_makes_it_a_miss(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    (root,) = run(path, "SELECT rootpage FROM sqlite_master WHERE name = 'entries'")[0]
    break_page(path, root)
    cache = await opened(path)
    assert caplog.text == ""
    assert await cache.get(b"key 1") is None
    assert "is damaged" in caplog.text
    cache.set(b"key 2", A)
    await cache.flush()
    assert await cache.get(b"key 2") == A
    await cache.aclose()


async def test_a_file_whose_scopes_are_damaged_is_begun_anew_when_it_is_opened(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(path)
    (root,) = run(path, "SELECT rootpage FROM sqlite_master WHERE name = 'scopes'")[0]
    break_page(path, root)
    cache = await opened(path)
    assert caplog.text.count("is damaged") == 1
    await cache.aclose()


@pytest.mark.parametrize("table", ["entries", "scopes", "entries_by_use"])
async def test_a_write_that_comes_upon_damage_goes_to_the_new_file(
    path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(path)
    cache = await opened(path, flush_delay=1_000)
    (root,) = run(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'")[0]
    break_page(path, root)
    # Reading with a cold page cache, as later in a long life.
    await cache._in_thread(lambda: cache._open_file._connected().execute("PRAGMA shrink_memory").fetchall())
    cache.set(b"k", A)
    await cache.flush()
    assert caplog.text.count("is damaged") == 1
    assert await cache.get(b"k") == A
    await cache.clear()
    await cache.aclose()
    cache = await opened(path)
    assert await cache.get(b"k") is None
    await cache.aclose()


async def test_a_value_that_has_changed_in_the_file_is_a_miss_and_is_removed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await opened(path)
    value = CachedValue(b"The quick brown fox jumps over the lazy dog", "h")
    for key in (b"k", b"l"):
        cache.set(key, value)
    await cache.aclose()
    content = bytearray(path.read_bytes())
    content[content.index(b"lazy")] ^= 1
    path.write_bytes(content)
    cache = await opened(path)
    rows = run(path, "SELECT count(*) FROM entries")[0][0]
    assert len(await found(cache, b"k", b"l")) == 1
    assert "has changed by itself, and is removed" in caplog.text
    assert run(path, "SELECT count(*) FROM entries")[0][0] == rows - 1
    await cache.aclose()
    assert not Path(f"{path}.corrupt").exists()


@pytest.mark.parametrize(
    "change",
    ["data = 'text'", "data = 5", "hash = 5", "hash = x'ff'", "checksum = 'x'"],
)
async def test_a_row_of_other_types_is_a_miss(path: Path, change: str) -> None:
    await filled(path, 1)
    run(path, f"UPDATE entries SET {change}")
    cache = await opened(path)
    assert await cache.get(b"key 0") is None
    await cache.aclose()


@pytest.mark.parametrize("seed", range(60))
async def test_wherever_a_file_is_damaged_nothing_fails_and_no_wrong_value_is_found(path: Path, seed: int) -> None:
    values = await filled(path, 60, 300)
    generator = random.Random(seed)
    content = bytearray(path.read_bytes())
    if seed % 3 == 0:
        for _ in range(generator.randint(1, 50)):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    elif seed % 3 == 1:
        for _ in range(generator.randint(1, 5)):
            content[generator.randrange(PAGE)] = generator.randrange(256)
    else:
        start_of_page = generator.randrange(len(content) // PAGE) * PAGE
        content[start_of_page : start_of_page + PAGE] = generator.randbytes(PAGE)
    path.write_bytes(content)
    cache = await opened(path)
    for key, value in values.items():
        assert await cache.get(key) in (None, value)
        cache.set(key, B)
    await cache.flush()
    for key, value in values.items():
        assert await cache.get(key) in (None, B, value)
    await cache.clear()
    assert await found(cache, *values) == []
    await cache.aclose()
    cache = await opened(path, "2")
    await cache.aclose()


def break_page(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


# What isn't damage


async def test_a_file_that_is_busy_is_waited_for_and_then_an_error_and_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_schema, "_BUSY_TIMEOUT", 0.01)
    cache = await opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.set(b"k", A)
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            await cache.flush()
        assert caught.value.__notes__ == [f"the file is {path}"]
        assert await cache.get(b"k") == A
        other.execute("ROLLBACK")
    await cache.flush()
    assert run(path, "SELECT key FROM entries") == [(b"k",)]
    await cache.aclose()
    assert not Path(f"{path}.corrupt").exists()


async def test_a_full_disk_is_an_error_and_what_was_there_stays(path: Path) -> None:
    cache = await opened(path, flush_delay=1_000)
    cache.set(b"k", A)
    await cache.flush()
    db = await cache._in_thread(cache._open_file._connected)
    await cache._in_thread(lambda: db.execute("PRAGMA max_page_count = 10").fetchall())
    cache.set(b"large", CachedValue(b"x" * 100_000, "h"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await cache.flush()
    assert await found(cache, b"k", b"large") == [b"k", b"large"]
    await cache._in_thread(lambda: db.execute("PRAGMA max_page_count = 1000").fetchall())
    await cache.aclose()
    cache = await opened(path)
    assert await found(cache, b"k", b"large") == [b"k", b"large"]
    await cache.aclose()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('mine')"],
        ["PRAGMA application_id = 7", "PRAGMA user_version = 1"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE entries (text TEXT)"],
        ["PRAGMA user_version = 3"],
    ],
)
async def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    content = path.read_bytes()
    cache = SqliteCache(path)
    with pytest.raises(
        FileExistsError, match=r"is a SQLite database of something else .* give the cache a file of its own"
    ):
        await cache.open("1")
    await cache.aclose()
    assert path.read_bytes() == content
    assert not Path(f"{path}.corrupt").exists()


async def test_a_path_that_can_not_be_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        await SqliteCache(tmp_path).open("1")
    assert caught.value.__notes__ == [f"the file is {tmp_path}"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        await SqliteCache(tmp_path / "file" / "cache.db").open("1")
    assert cache_threads() == []


async def test_a_file_of_another_version_of_the_library_is_begun_anew(path: Path) -> None:
    await filled(path)
    run(path, "PRAGMA user_version = 2")
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE entries; CREATE TABLE newer (a); CREATE VIEW seen AS SELECT * FROM newer")
    cache = await opened(path)
    cache.set(b"key 1", A)
    await cache.aclose()
    cache = await opened(path)
    assert await found(cache, b"key 0", b"key 1") == [b"key 1"]
    await cache.aclose()
    assert not Path(f"{path}.corrupt").exists()


# Bounds


async def test_what_was_not_used_for_the_longest_time_goes_first(path: Path) -> None:
    keys = [b"%d" % i for i in range(6)]
    cache = await opened(path, max_entries=4)
    for key in keys[:4]:
        cache.set(key, A)
    await cache.flush()
    await found(cache, keys[0], keys[1])
    cache.set(keys[4], A)
    await cache.flush()
    assert await found(cache, *keys) == [keys[i] for i in (0, 1, 3, 4)]
    await cache.aclose()
    # The uses of a cache that has nothing to write are kept as well.
    cache = await opened(path, max_entries=4)
    await found(cache, keys[3])
    await cache.aclose()
    cache = await opened(path, max_entries=2)
    cache.set(keys[5], A)
    await cache.flush()
    assert await found(cache, *keys) == [keys[3], keys[5]]
    await cache.aclose()


async def test_keys_and_data_are_bounded_together(path: Path) -> None:
    cache = await opened(path, max_bytes=100_000)
    for round_ in range(5):
        for i in range(20):
            cache.set(b"%d %d" % (round_, i), CachedValue(b"x" * 4_990, "h"))
        await cache.flush()
        ((size,),) = run(path, "SELECT sum(length(key) + length(data)) FROM entries")
        assert 85_000 <= size <= 100_000
    assert await found(cache, b"4 19", b"4 2", b"3 19") == [b"4 19", b"4 2"]
    await cache.aclose()
    assert path.stat().st_size < 400_000


async def test_replaced_values_do_not_count_twice(path: Path) -> None:
    cache = await opened(path, max_entries=40)
    for i in range(30):
        cache.set(b"%d" % i, A)
    for _ in range(20):
        cache.set(b"0", B)
        cache.set(b"1", B)
        await cache.flush()
    assert len(await found(cache, *[b"%d" % i for i in range(30)])) == 30
    await cache.aclose()


async def test_a_value_that_is_too_large_is_not_kept_and_nor_is_the_one_before(path: Path) -> None:
    cache = await opened(path, max_bytes=1_000)
    for key in (b"k", b"l"):
        cache.set(key, A)
    await cache.flush()
    cache.set(b"k", CachedValue(b"x" * 1_000, "h"))
    await cache.flush()
    assert await found(cache, b"k", b"l") == [b"l"]
    await cache.aclose()


async def test_none_is_no_limit(path: Path) -> None:
    cache = await opened(path, max_bytes=None, max_entries=None)
    for i in range(50):
        cache.set(b"%d" % i, A)
    await cache.flush()
    assert len(await found(cache, *[b"%d" % i for i in range(50)])) == 50
    await cache.aclose()


# Scopes and other processes


async def test_scopes_see_nothing_of_each_other_and_have_a_version_each(path: Path) -> None:
    alice, bob = await opened(path, scope="alice"), await opened(path, scope="bob")
    alice.set(b"k", A)
    bob.set(b"k", B)
    await alice.flush()
    await bob.flush()
    assert [await alice.get(b"k"), await bob.get(b"k")] == [A, B]
    await alice.aclose()
    alice = await opened(path, "2", scope="alice")
    assert await alice.get(b"k") is None
    await alice.clear()
    assert await bob.get(b"k") == B
    await bob.aclose()
    bob = await opened(path, "1", scope="bob")
    assert await bob.get(b"k") == B
    await alice.aclose()
    await bob.aclose()


async def test_two_caches_may_use_one_file(path: Path) -> None:
    first, second = await opened(path), await opened(path)
    first.set(b"k", A)
    await first.flush()
    assert await second.get(b"k") == A
    second.remove(b"k")
    second.set(b"l", B)
    await second.flush()
    assert [await first.get(b"k"), await first.get(b"l")] == [None, B]
    await asyncio.gather(*[cache.aclose() for cache in (first, second)])


async def test_a_cache_that_another_one_has_cleared_goes_on(path: Path) -> None:
    first, second = await opened(path), await opened(path)
    first.set(b"k", A)
    await first.flush()
    await second.clear()
    assert await first.get(b"k") is None
    first.set(b"l", B)
    await first.flush()
    assert [await cache.get(b"l") for cache in (first, second)] == [B, B]
    await asyncio.gather(*[cache.aclose() for cache in (first, second)])


async def test_a_cache_whose_scope_was_opened_with_another_version_finds_and_keeps_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = await opened(path)
    old.set(b"k", A)
    await old.flush()
    new = await opened(path, "2")
    for _ in range(2):
        old.set(b"k", A)
        await old.flush()
    await old.clear()
    assert [await old.get(b"k"), await new.get(b"k")] == [None, None]
    new.set(b"k", B)
    await new.flush()
    assert [await old.get(b"k"), await new.get(b"k")] == [None, B]
    assert caplog.text.count("was opened with another version") == 1
    await asyncio.gather(*[cache.aclose() for cache in (old, new)])


async def test_a_file_that_is_deleted_while_it_is_open_is_made_again(path: Path) -> None:
    cache = await opened(path)
    cache.set(b"k", A)
    await cache.flush()
    path.unlink()
    cache.set(b"l", B)
    await cache.flush()
    assert await found(cache, b"k", b"l") == [b"l"]
    await cache.aclose()
    cache = await opened(path)
    assert await found(cache, b"k", b"l") == [b"l"]
    await cache.aclose()


async def test_of_two_who_find_the_same_damage_one_moves_the_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    first, second = await opened(path), await opened(path)
    (root,) = run(path, "SELECT rootpage FROM sqlite_master WHERE name = 'entries'")[0]
    break_page(path, root)
    assert await first.get(b"key 1") is None
    first.set(b"key 1", A)
    await first.flush()
    assert await second.get(b"key 1") == A
    assert caplog.text.count("is damaged") == 1
    await asyncio.gather(*[cache.aclose() for cache in (first, second)])


async def test_a_read_from_a_file_that_was_moved_is_made_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    cache = await opened(path)
    (root,) = run(path, "SELECT rootpage FROM sqlite_master WHERE name = 'entries'")[0]
    break_page(path, root)
    path.rename(f"{path}.old")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").rename(f"{path}.old{suffix}")
    values = await filled(path)
    assert await cache.get(b"key 1") == values[b"key 1"]
    assert "is damaged" not in caplog.text
    await cache.aclose()


async def test_a_file_that_is_always_damaged_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        path.write_text("damaged")
        return sqlite3_connect(path)

    sqlite3_connect = _sqlite_schema.connect
    monkeypatch.setattr(_sqlite_file, "connect", connect)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        await SqliteCache(path).open("1")
    assert cache_threads() == []


PROGRAM = """
import asyncio, sys
from refusion.remote import CachedValue, SqliteCache

async def main():
    cache = SqliteCache(sys.argv[1])
    await cache.open("1")
    for i in range(int(sys.argv[2])):
        for j in range(20):
            cache.set(b"%s %d %d" % (sys.argv[3].encode(), i, j), CachedValue(b"%d" % i * 500, str(i)))
        await cache.flush()
        print(i, flush=True)
    await cache.aclose()

asyncio.run(main())
"""


def start(path: Path, rounds: int, name: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(path), str(rounds), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def test_a_process_that_is_killed_while_it_writes_leaves_all_that_was_flushed(path: Path) -> None:
    for life in range(3):
        process = start(path, 1_000_000, f"life {life}")
        assert process.stdout is not None
        last = [int(process.stdout.readline()) for _ in range(10 + 7 * life)][-1]
        process.kill()
        rest = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        last = int(rest[-1]) if rest else last
        cache = await opened(path)
        for i in range(last + 1):
            for j in (0, 19):
                assert await cache.get(b"life %d %d %d" % (life, i, j)) == CachedValue(b"%d" % i * 500, str(i))
        await cache.aclose()
    assert not Path(f"{path}.corrupt").exists()


def test_processes_may_make_and_fill_one_file_at_the_same_time(path: Path) -> None:
    processes = [start(path, 10, f"process {i}") for i in range(4)]
    for process in processes:
        process.communicate(timeout=40)
        assert process.returncode == 0
    assert run(path, "SELECT count(*) FROM entries") == [(800,)]
    assert run(path, "PRAGMA journal_mode") == [("wal",)]


# Files and threads


async def test_sqlite_runs_in_one_thread_that_ends_when_the_cache_is_closed(path: Path) -> None:
    cache = SqliteCache(path)
    assert cache_threads() == []
    await cache.open("1")
    cache.set(b"k", A)
    await cache.flush()
    await asyncio.gather(*[cache.get(b"%d" % i) for i in range(10)])
    assert len(cache_threads()) == 1
    await cache.aclose()
    assert cache_threads() == []


async def test_its_methods_for_the_base_class_are_errors_while_it_is_closed(path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"SqliteCache\('.*', scope='alice'\) isn't open"):
        await SqliteCache(path, scope="alice").fetch(b"k")


async def test_closing_a_cache_while_it_is_read_ends_the_reads(path: Path) -> None:
    await filled(path)
    cache = await opened(path)
    reads = [asyncio.create_task(cache.get(b"key %d" % i)) for i in range(50)]
    await asyncio.sleep(0)
    await cache.aclose()
    assert all(await asyncio.gather(*reads))


async def test_the_file_is_for_its_owner_only_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "another % one?" / "cache#1.db"
    cache = SqliteCache(str(path))
    await cache.open("1")
    cache.set(b"k", A)
    await cache.flush()
    if os.name == "posix":
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    await cache.aclose()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_cache_in_no_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"in memory there is MemoryCache\(\)"):
        SqliteCache(path)


@pytest.mark.parametrize("name", ["max_bytes", "max_entries"])
def test_a_negative_limit_is_an_error(name: str) -> None:
    limits: dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match=f"{name}=-1"):
        SqliteCache("cache.db", **limits)


def test_sqlite_is_loaded_only_when_a_cache_is_opened() -> None:
    program = "import refusion.remote as r, sys; r.SqliteCache('x'); sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def cache_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("refusion-cache")]
