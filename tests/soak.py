"""Drives a server and its clients for as long as one likes: `python -m tests.soak --minutes 30`.

Each seed is a run of its own, with a transport, a format, a cache or none, a number of clients and rates of its own,
and prints what it has seen in a line. Ends with 1 at the first failure; `--seed` then runs that seed again, and those
after it.
"""

import argparse
import asyncio
import logging
import resource
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from refusion import FusionHub, MemoryCache, SqliteCache
from refusion.remote import ClientCache
from refusion.testing import ConsistencyError, ConsistencyReport, eventually_consistent

from .model.warehouse import WarehouseScenario

__all__ = ["main"]


@dataclass(frozen=True)
class Soak:
    """What the seed makes of a run."""

    seed: int
    transport: str
    format: str
    cache: str
    clients: int
    edits: int
    cuts: int
    restarts: int

    @classmethod
    def of_seed(cls, seed: int) -> "Soak":
        chance = Random(seed)
        return cls(
            seed=seed,
            transport=chance.choice(["picows", "picows", "websockets"]),
            format=chance.choice(["msgpack6c", "msgpack6c", "msgpack6", "json5np"]),
            cache=chance.choice(["no cache", "no cache", "MemoryCache", "SqliteCache"]),
            clients=chance.randint(1, 16),
            edits=chance.choice([1_000, 5_000, 10_000, 20_000]),
            cuts=chance.randint(0, 400),
            restarts=chance.randint(0, 15),
        )

    async def run(self) -> ConsistencyReport:
        with TemporaryDirectory(prefix="soak-") as folder:
            return await eventually_consistent(
                WarehouseScenario(),
                seed=self.seed,
                clients=self.clients,
                edits=self.edits,
                cuts=self.cuts,
                restarts=self.restarts,
                transport=self.transport,
                create_client_hub=partial(self._create_client_hub, folder),
            )

    def _create_client_hub(self, folder: str, **options: Any) -> FusionHub:
        cache: ClientCache | None = None
        if self.cache == "MemoryCache":
            cache = MemoryCache()
        elif self.cache == "SqliteCache":
            # All clients of a run use one file.
            cache = SqliteCache(Path(folder) / "cache.db")
        return FusionHub(format=self.format, cache=cache, **options)


def main() -> int:
    """Run one seed after another until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to go on (5)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    options = parser.parse_args()
    # That connections break is what it is about.
    logging.getLogger("refusion").setLevel(logging.ERROR)
    deadline = time.monotonic() + 60 * options.minutes
    seed = options.seed
    while time.monotonic() < deadline:
        soak = Soak.of_seed(seed)
        try:
            report = asyncio.run(soak.run())
        except ConsistencyError as error:
            print(f"\n{soak} FAILED with {type(error).__name__}\n{error}")
            return 1
        except Exception:
            print(f"\n{soak} FAILED")
            traceback.print_exc()
            return 1
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{report}; {soak.transport}, {soak.format}, {soak.cache}, peak {peak_mib} MiB", flush=True)
        seed += 1
    print(f"{seed - options.seed} runs without a failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
