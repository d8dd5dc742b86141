"""Versions of the API that a side speaks, by scope, as handshakes carry them: `Api=1.0,Backend=2.1`."""

from collections.abc import Iterator, Mapping
from typing import Final, final

from refusion.rpc._errors import RpcProtocolError

__all__ = ["API_SCOPE", "DEFAULT_VERSIONS", "Version", "VersionSet", "parse_version"]

Version = tuple[int, ...]

API_SCOPE: Final = "Api"
"""The scope of services for everybody."""

DEFAULT_VERSIONS: Final = "Api=1.0"
"""What a side says that has no versions to tell apart, as .NET peers do."""

_MAX_SCOPES: Final = 16
"""A stranger's handshake is read before anything is known of it; nobody has that many parts of an API."""
_MAX_LENGTH: Final = 512


def parse_version(text: str) -> Version:
    """Return a version as numbers that compare, without zeros at its end: 1.10 is after 1.9, and 1.0 is 1.

    Raises:
        ValueError: If it isn't numbers with dots between them.
    """
    parts = text.strip().split(".")
    if len(parts) > 4 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError(f"{text!r} isn't a version; write one to four numbers with dots between them, as 1.10")
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@final
class VersionSet(Mapping[str, Version]):
    """The versions of a side by scope; a scope that it doesn't name is at version 0."""

    def __init__(self, text: str | None = None) -> None:
        """Read what a handshake says.

        Raises:
            RpcProtocolError: If it isn't `scope=version` with commas between, or too much of it.
        """
        self._versions: dict[str, Version] = {}
        if not text:
            return
        if len(text) > _MAX_LENGTH:
            raise RpcProtocolError(f"a version set of {len(text)} characters; {_MAX_LENGTH} is the limit")
        parts = text.split(",")
        if len(parts) > _MAX_SCOPES:
            raise RpcProtocolError(f"a version set of {len(parts)} scopes; {_MAX_SCOPES} is the limit")
        for part in parts:
            scope, separator, version = part.partition("=")
            try:
                self._versions[scope.strip()] = parse_version(version)
            except ValueError as error:
                raise RpcProtocolError(f"a version set has {part!r} in it: {error}") from None
            if not separator or not scope.strip():
                raise RpcProtocolError(f"a version set has {part!r} in it, which isn't `scope=version`")

    def __getitem__(self, scope: str) -> Version:
        return self._versions.get(scope, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)

    def __repr__(self) -> str:
        texts = [f"{scope}={'.'.join(map(str, version)) or '0'}" for scope, version in self._versions.items()]
        return f"VersionSet({','.join(texts)!r})"
