"""Fuzzers: inputs that nobody would send, for everything that reads what others send."""
