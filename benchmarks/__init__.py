"""Benchmarks: each number beside its peer's, from the same run."""
