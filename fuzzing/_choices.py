"""An input as a sequence of choices: what makes structured values of bytes."""

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices", "mutated"]

T = TypeVar("T")

_SMALL = (0, 1, 2, 3, 29, 30, 31, 60, 61, 62, 127, 128, 255, 1_024)
_LARGE = (2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64 - 1)
_NUMBERS = (*_SMALL, *_LARGE)


class Choices:
    """Takes choices off the front of an input; when it is used up, the answer to every question is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to choose by."""
        return self._position >= len(self._data)

    def byte(self) -> int:
        """Return a number below 256."""
        if self._position >= len(self._data):
            return 0
        self._position += 1
        return self._data[self._position - 1]

    def below(self, limit: int) -> int:
        """Return a number below a limit of at most 65,536."""
        number = self.byte()
        if limit > 256:
            number = number << 8 | self.byte()
        return number % limit

    def one_in(self, count: int) -> bool:
        """Tell yes once in a while; no at the end of the input."""
        return self.below(count) == count - 1

    def pick(self, options: Sequence[T]) -> T:
        """Return one of these."""
        return options[self.below(len(options))]

    def number(self) -> int:
        """Return a small number, or one at the edge of something, or any of 64 bits."""
        kind = self.below(4)
        if kind < 2:
            return self.byte()
        if kind == 2:
            return self.pick(_NUMBERS)
        return int.from_bytes(self.take(8), "little")

    def take(self, count: int) -> bytes:
        """Return that many bytes, or what is left."""
        taken = self._data[self._position : self._position + count]
        self._position += len(taken)
        return taken

    def some_bytes(self, limit: int = 64) -> bytes:
        """Return a few bytes."""
        return self.take(self.below(limit))

    def text(self, limit: int = 24) -> str:
        """Return a short text."""
        return self.some_bytes(limit).decode(errors="replace")

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data))


def mutated(data: bytes, choices: Choices) -> bytes:
    """Return bytes with a few of them changed, left out, repeated or put in."""
    buffer = bytearray(data)
    for _ in range(1 + choices.below(3)):
        position = choices.below(len(buffer) or 1) if len(buffer) <= 65_536 else choices.below(65_536)
        match choices.below(6):
            case 0 if buffer:
                buffer[position] ^= 1 << choices.below(8)
            case 1 if buffer:
                buffer[position] = choices.byte()
            case 2:
                del buffer[position : position + 1 + choices.below(8)]
            case 3:
                buffer[position:position] = choices.some_bytes(16)
            case 4:
                del buffer[position:]
            case _:
                buffer[position:position] = buffer[position : position + 1 + choices.below(32)]
    return bytes(buffer)
