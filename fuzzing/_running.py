"""The input that is being run, where another process finds it when this one doesn't come back."""

import mmap
from pathlib import Path

__all__ = ["RunningInput"]

_SIZE_BYTES = 4


class RunningInput:
    """A file that holds the last input."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._capacity = max_bytes
        with path.open("wb+") as file:
            file.truncate(_SIZE_BYTES + max_bytes)
            self._map = mmap.mmap(file.fileno(), _SIZE_BYTES + max_bytes)

    def set(self, data: bytes) -> None:
        """Note which input comes now."""
        data = data[: self._capacity]
        end = _SIZE_BYTES + len(data)
        self._map[:end] = len(data).to_bytes(_SIZE_BYTES, "little") + data

    @staticmethod
    def read(path: Path) -> bytes:
        """Return the input that a process has left behind."""
        content = path.read_bytes()
        size = int.from_bytes(content[:_SIZE_BYTES], "little")
        return content[_SIZE_BYTES : _SIZE_BYTES + size]
