"""Inputs from inputs, for where there is no fuzzer that looks at what the code does with them."""

from collections.abc import Sequence
from random import Random

__all__ = ["Mutator"]

_EDGES = (0x00, 0x01, 0x1E, 0x1F, 0x0A, 0x7F, 0x80, 0xC0, 0xC1, 0xDF, 0xFF)
_STEPS = (1, 1, 1, 2, 2, 3, 4, 8)
"""How many changes one input has: mostly few, so that it is nearly right."""

_MAX_KEPT = 2_000


class Mutator:
    """Makes inputs of seeds, of its own inputs and of tokens; the same ones for the same random numbers."""

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes], max_bytes: int, random: Random) -> None:
        self._pool = [seed[:max_bytes] for seed in seeds] or [b""]
        self._seed_count = len(self._pool)
        self._tokens = tokens
        self._max_bytes = max_bytes
        self._random = random

    def next(self) -> bytes:
        """Return a new input."""
        random = self._random
        data = bytearray(random.choice(self._pool))
        for _ in range(random.choice(_STEPS)):
            self._mutate(data)
        result = bytes(data[: self._max_bytes])
        if random.random() < 0.05:
            if len(self._pool) < self._seed_count + _MAX_KEPT:
                self._pool.append(result)
            else:
                self._pool[random.randrange(self._seed_count, len(self._pool))] = result
        return result

    def _mutate(self, data: bytearray) -> None:
        random = self._random
        position = random.randrange(len(data) + 1)
        kind = random.randrange(10)
        if kind == 0 and self._tokens:
            data[position:position] = random.choice(self._tokens)
        elif kind == 1:
            other = random.choice(self._pool)
            start = random.randrange(len(other) + 1)
            data[position:] = other[start:]
        elif kind == 2:
            data[position:position] = random.randbytes(random.randrange(1, 9))
        elif kind == 3:
            del data[position : position + random.randrange(1, 17)]
        elif kind == 4:
            data[position:position] = data[position : position + random.randrange(1, 65)]
        elif kind == 5:
            del data[position:]
        elif position < len(data):
            if kind == 6:
                data[position] = random.choice(_EDGES)
            elif kind == 7:
                data[position] = (data[position] + random.choice((-1, 1))) & 0xFF
            elif kind == 8:
                data[position] ^= 1 << random.randrange(8)
            else:
                data[position] = random.randrange(256)
