"""The command line: `python -m refusion watch` follows a value of a running service."""

from ._main import main as main
