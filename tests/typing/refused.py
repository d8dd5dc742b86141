"""What type checkers have to refuse, line by line."""

from refusion import FusionHub, MemoryCache, MutableState, PeerStateMonitor, SqliteCache, Synchronizer, compute_method
from refusion.rpc import RpcStream


class Todos:
    @compute_method
    async def title(self, key: str) -> str:
        return key

    @compute_method
    def size(self, factor: int) -> float:
        return factor * 1.5


async def check(todos: Todos) -> None:
    await todos.title(1)  # error
    await todos.title()  # error
    await todos.title("a", "b")  # error
    todos.title.invalidate(1)  # error
    await todos.title.capture(1)  # error
    todos.title.existing(1)  # error
    todos.size("a")  # error
    todos.size.invalidate("a")  # error
    (await todos.title("a")).missing  # error
    todos.title.missing("a")  # error
    MutableState("Ann").set(1)  # error
    RpcStream(5)  # error
    RpcStream[str]([1])  # error
    RpcStream("a", can_skip_to=lambda item: item.missing)  # error
    FusionHub(cache="cache.db")  # error
    MemoryCache(max_bytes="a lot")  # error
    SqliteCache(1)  # error
    Synchronizer(5.0)  # error
    Synchronizer.PRECISE.max_wait = 1.0  # error
    await Synchronizer.PRECISE.synchronize(todos)  # error
    PeerStateMonitor("ws://localhost")  # error


async def services(hub: FusionHub, todos: Todos) -> None:
    hub.add_service(Todos, mode=1)  # error
    hub.add_service(Todos, mode="client", target=8080)  # error
    hub.service("Todos")  # error
    await hub.service(Todos).title(1)  # error
    await hub.add_service(Todos, todos).title(1)  # error
    (await hub.synchronized()).missing  # error


async def link(monitor: PeerStateMonitor) -> None:
    monitor.state.value.missing  # error
    monitor.state.value.kind = None  # error
    monitor.state.set(monitor.state.value)  # error
