"""Plain bytes in one direction: `python -m benchmarks.bench_channels --quick`.

What a message costs the sender and the receiver in CPU time, on a channel, as a call that nobody waits for, and as a
WebSocket frame without any protocol.
"""

import argparse
import statistics
from collections import defaultdict
from contextlib import ExitStack

from ._channels import STACKS
from ._measure import describe_interpreter, describe_load
from ._processes import Worker, pinning

SIZES = {100: 100_000, 1_000_000: 300}
"""How many messages of a size are sent at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Plain bytes in one direction.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a look")
    rounds = 2 if parser.parse_args().quick else 9
    print(describe_interpreter("uvloop"))
    if warning := describe_load():
        print(warning)
    clients, servers = pinning()
    costs: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    with ExitStack() as processes:
        pairs: dict[str, tuple[Worker, Worker]] = {}
        for name in STACKS:
            server = processes.enter_context(Worker("benchmarks._channels", "server", name, core=servers))
            client = processes.enter_context(Worker("benchmarks._channels", "client", name, server.ready, core=clients))
            pairs[name] = server, client
        for number in range(rounds + 1):
            for size, count in SIZES.items():
                for name, (server, client) in pairs.items():
                    before = client("cpu"), server("cpu")
                    client("send", size=size, count=count)
                    server("wait", count=count)
                    after = client("cpu"), server("cpu")
                    if number > 0:
                        costs[size, name].append(
                            ((after[0] - before[0]) / count * 1e6, (after[1] - before[1]) / count * 1e6)
                        )
    for size in SIZES:
        print(f"\n{size:,} bytes: microseconds of CPU per message")
        for name in STACKS:
            sender, receiver = (statistics.median(side) for side in zip(*costs[size, name], strict=True))
            print(f"  {name:<16} sender {sender:8.2f}  receiver {receiver:8.2f}")


if __name__ == "__main__":
    main()
