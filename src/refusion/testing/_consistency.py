"""`eventually_consistent`: a server, its clients, and all that can go wrong between them, at random."""

from typing import Any

from refusion.remote import FusionHub
from refusion.rpc.transports import Network

from ._consistency_report import ConsistencyReport
from ._consistency_run import ConsistencyPlan, ConsistencyRun
from ._scenario import ConsistencyScenario
from ._server_lives import HubFactory

__all__ = ["eventually_consistent"]


async def eventually_consistent(
    scenario: ConsistencyScenario[Any, Any],
    *,
    seed: int,
    clients: int = 8,
    edits: int = 10_000,
    cuts: int = 200,
    restarts: int = 5,
    readers: int = 16,
    settle_timeout: float = 10.0,
    transport: Network | str | None = None,
    create_client_hub: HubFactory = FusionHub,
    create_server_hub: HubFactory = FusionHub,
) -> ConsistencyReport:
    """Drive a compute service and its clients through edits, cuts and restarts, and show that all end with the truth.

    A server and its clients run in this process, each with a hub of its own and real connections between them. Edits
    happen in the server's process and by commands of clients. Meanwhile clients read, hold replicas, capture computeds,
    compute on top of them, follow some with a `ComputedState`, and give reads up halfway; connections are cut at either
    end, one or several at once, also while they are made; the server is killed, or closed, and comes back at the same
    address with the same data. Then all is left in peace, and within `settle_timeout`

    - every call that was made has ended;
    - every replica that is consistent, every fresh read, every computed on top and every state has the value that a
      service that was just created gives.

    A few more edits follow in peace, after which the same must hold: replicas that have survived are still told.

    At last it is checked that nothing was done without a reason. The service computes a value the first time in each
    of its lives, and again after it was invalidated. A client makes a replica the first time, and again after the
    server has invalidated the value (once for each time) or was replaced, after an error has expired, after a read
    was given up, or after a value of a client cache was shown in vain. Each replica takes one call at most, and another
    one for each that the server cancels or takes back before there is a result. So `calls <= replicas + retries`,
    `replicas <= first reads + invalidations there + servers found * first reads + errors + reads given up + shown in
    vain`, and `computations <= lives * values + invalidations`; values that were
    let go because nobody held them may be had again.

    The same seed plans the same edits, reads, cuts and restarts; how they meet is up to the event loop and the network,
    so that a failure may need a few tries to come again. Cancelling stops everything.

    Args:
        scenario: The service.
        seed: What everything random comes from.
        clients: How many clients there are.
        edits: How many changes are made; the last two percent in peace.
        cuts: How many connections are cut.
        restarts: How often the server is restarted.
        readers: How many reads each client has under way at most.
        settle_timeout: How many seconds clients have to end their calls and to learn the truth.
        transport: As for `FusionHub`; a `MemoryNetwork` does, too.
        create_client_hub: Makes the hub of each client, as one with a cache.
        create_server_hub: Makes the hub of each life of the server.

    Raises:
        StaleReplica: If a client still has an old value in the end.
        HungCalls: If calls don't end.
        TooManyCalls: If there are more calls, replicas or computations than reasons for them.
    """
    plan = ConsistencyPlan(
        scenario=scenario,
        seed=seed,
        clients=clients,
        edits=edits,
        cuts=cuts,
        restarts=restarts,
        readers=readers,
        settle_timeout=settle_timeout,
        transport=transport,
        create_client_hub=create_client_hub,
        create_server_hub=create_server_hub,
    )
    run = ConsistencyRun(plan)
    try:
        await run.start()
        await run.trouble()
        await run.peace()
        run.check_counts()
        return run.report()
    finally:
        await run.aclose()
