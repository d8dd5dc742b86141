"""What a run of `eventually_consistent` has seen."""

from dataclasses import dataclass

__all__ = ["ConsistencyReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyReport:
    """What was done, and what that has cost; `str()` gives it in a line."""

    seed: int
    """By which the same is done again."""

    clients: int
    """How many clients there were."""

    edits: int
    """Changes of the data, those by commands of clients included."""

    commands: int
    """How many of them were commands of clients."""

    failed_commands: int
    """Commands that have ended with an `RpcError`."""

    reads: int
    """Calls that clients have made, whether or not they had the value already."""

    cancelled_reads: int
    """How many of them were given up by who made them."""

    cuts: int
    """Connections that were cut."""

    restarts: int
    """How often the server was restarted."""

    reconnects: int
    """Connections that were made anew."""

    first_reads: int
    """Pairs of a client and a call that it has made."""

    remote_calls: int
    """Compute calls that were sent to the server; one that is sent again under its id is counted once."""

    calls_bound: int
    """How many remote calls there were reasons for."""

    retries: int
    """Remote calls that the server has cancelled, or whose result was stale before it came: they are made again."""

    replicas: int
    """Replicas that were begun."""

    replicas_invalidated: int
    """Replicas that were invalidated, by whatever reason, or given up."""

    replicas_bound: int
    """How many replicas there were reasons for."""

    computations: int
    """Results that the service has computed."""

    computations_bound: int
    """How many computations there were reasons for."""

    hung_calls: int
    """Calls that never ended; 0, or there would be no report."""

    seconds_until_consistent: float
    """How long it took after the last edit and the last cut until all clients had the truth."""

    seconds: float
    """How long all of it took."""

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.clients} clients, {self.edits:,} edits, {self.reads:,} reads, {self.cuts} cuts, "
            f"{self.restarts} restarts, {self.reconnects} reconnects; {self.remote_calls:,} calls of at most "
            f"{self.calls_bound:,}, {self.replicas:,} replicas of at most {self.replicas_bound:,}, "
            f"{self.computations:,} computations of at most {self.computations_bound:,}, {self.retries} retries, "
            f"{self.hung_calls} hung; consistent after {self.seconds_until_consistent:.2f} s, "
            f"{self.seconds:.1f} s in all"
        )
