"""Fills the corpus with what the targets begin with: `python -m fuzzing.seed [target ...]`."""

import hashlib
import sys
from pathlib import Path

from ._harness import Target
from .targets import load, names

__all__ = ["CORPUS", "write_seeds"]

CORPUS = Path(__file__).parent / "corpus"


def write_seeds(target: Target, corpus: Path) -> int:
    """Put the seeds of a target into a folder; returns how many there are."""
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = {seed[: target.max_bytes] for seed in target.seeds()}
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return len(seeds)


def main() -> int:
    """Fill the corpus of some targets, or of all."""
    for name in sys.argv[1:] or names():
        print(f"{name}: {write_seeds(load(name), CORPUS / name)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
