"""Users in a database, read each time, and read once until they change."""

import random
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from refusion import compute_method
from refusion.rpc import rpc_service

__all__ = ["USERS", "ComputedUserApi", "ComputedUsers", "PlainUserApi", "PlainUsers", "User", "UserTable"]

USERS: Final = 1_000


class User(msgspec.Struct, frozen=True):
    id: int
    name: str
    email: str
    about: str
    version: int


class UserTable:
    """The users, in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "users.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name, email, about, version)")
        source = random.Random(1)
        for number in range(USERS):
            about = " ".join(source.choice(("blue", "green", "long", "short", "quiet")) for _ in range(20))
            row = (number, f"user {number}", f"user{number}@example.com", about, 0)
            self._connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", row)

    def read(self, user_id: int) -> User:
        """Return a user; there are more ids than rows, and those of one row differ in nothing else."""
        query = "SELECT name, email, about, version FROM users WHERE id = ?"
        return User(user_id, *self._connection.execute(query, (user_id % USERS,)).fetchone())

    def touch(self, user_id: int) -> None:
        query = "UPDATE users SET version = version + 1 WHERE id = ?"
        self._connection.execute(query, (user_id % USERS,))


@rpc_service(name="PlainUsers")
class PlainUserApi:
    async def get(self, user_id: int) -> User:
        raise NotImplementedError

    async def touch(self, user_id: int) -> None:
        raise NotImplementedError


class PlainUsers(PlainUserApi):
    def __init__(self, table: UserTable) -> None:
        self._table = table

    async def get(self, user_id: int) -> User:
        return self._table.read(user_id)

    async def touch(self, user_id: int) -> None:
        self._table.touch(user_id)


@rpc_service(name="ComputedUsers")
class ComputedUserApi:
    @compute_method
    async def get(self, user_id: int) -> User:
        raise NotImplementedError

    async def touch(self, user_id: int) -> None:
        raise NotImplementedError


class ComputedUsers(ComputedUserApi):
    def __init__(self, table: UserTable) -> None:
        self._table = table

    @compute_method
    async def get(self, user_id: int) -> User:
        return self._table.read(user_id)

    async def touch(self, user_id: int) -> None:
        self._table.touch(user_id)
        self.get.invalidate(user_id)
