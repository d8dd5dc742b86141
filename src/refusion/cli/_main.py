"""Reads the command line."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from ._watch import UsageError, watch

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 when done, 2 for wrong usage, 130 when interrupted.

    Args:
        arguments: The command line without the program's name; that of the process by default.
    """
    parser = argparse.ArgumentParser(prog="refusion", description="Tools for running Fusion services.")
    commands = parser.add_subparsers(dest="command", required=True)
    watching = commands.add_parser("watch", help="print a value of a compute method each time it changes")
    watching.add_argument("url", help="where the server listens, as ws://127.0.0.1:8080")
    watching.add_argument("method", help="service and method of the contract, as StockApi.get_price")
    watching.add_argument("args", nargs="*", help="the arguments; texts as they are, anything else as JSON")
    watching.add_argument(
        "--contract", required=True, help="the module that has the contract, as samples.stocks.contract"
    )
    watching.add_argument("--count", type=int, help="stop after so many values")
    watching.add_argument("--format", default="msgpack6c", help="the wire format (default msgpack6c)")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(
            watch(
                options.url, options.method, options.args, options.contract, count=options.count, format=options.format
            )
        )
    except UsageError as error:
        print(f"refusion watch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
