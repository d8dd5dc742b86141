"""Routers that spread calls over several servers by a key, the same way in every process."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final
from uuid import UUID

from ._errors import RpcContractError
from ._routes import LOCAL, RpcRef, RpcRouter, RpcTarget

if TYPE_CHECKING:
    from ._contract import MethodDefinition

__all__ = ["RpcKey", "RpcShards", "route_by_hash", "stable_hash"]

RpcKey: TypeAlias = Callable[["MethodDefinition", Sequence[Any]], str | bytes | int | UUID]
"""Returns what the calls of a method are spread by."""


def stable_hash(key: str | bytes | int | UUID) -> int:
    """Return a 64-bit hash of a key that is the same in every process and on every machine: XXH3 of its bytes.

    Raises:
        TypeError: If the key is of another type.
    """
    # Imported here, so that who only computes doesn't load it.
    import xxhash

    match key:
        case str():
            data = key.encode()
        case bytes():
            data = key
        case UUID():
            data = key.bytes
        case int():
            data = str(int(key)).encode()
        case _:  # pyright: ignore[reportUnnecessaryComparison]  # callers without types
            raise TypeError(f"a key to route by is a str, bytes, int or UUID, not {type(key).__qualname__}")
    return int(xxhash.xxh3_64_intdigest(data))


def route_by_hash(targets: Sequence[RpcRef | RpcTarget], key: RpcKey | None = None) -> RpcRouter:
    """Return a router that gives each key one of the targets: the one at its hash modulo their number.

    Args:
        targets: Whom calls go to, in the order that all processes agree on.
        key: Returns the key of a call; by default that is its first argument.

    Raises:
        ValueError: If there are no targets.
    """
    if not targets:
        raise ValueError("there is nobody to route calls to")
    refs = [target if isinstance(target, RpcRef) else RpcRef(target) for target in targets]
    key_of = key or first_argument

    def route(method: "MethodDefinition", values: Sequence[Any]) -> RpcRef:
        return refs[stable_hash(key_of(method, values)) % len(refs)]

    return route


def first_argument(method: "MethodDefinition", values: Sequence[Any]) -> Any:
    """Return the first argument of a call as its key.

    Raises:
        RpcContractError: If the method has no parameters, or the first one can't be a key.
    """
    if not values:
        raise RpcContractError(method.full_name, "it has no parameter to route its calls by; give the router a key")
    if not isinstance(values[0], str | bytes | int | UUID):
        problem = f"its calls can't be routed by a {type(values[0]).__qualname__}; give the router a key"
        raise RpcContractError(method.full_name, problem)
    return values[0]


@final
class RpcShards:
    """A fixed number of shards, each at one of several targets; keys belong to shards.

    Targets may come and go: `assign` moves as few shards as it can, and their calls with them. Each process that
    assigns the same targets comes to the same result (rendezvous hashing, Thaler and Ravishankar 1996).

    Example:
        ```python
        shards = RpcShards(64, ["ws://a:8080", "ws://b:8080"])
        chat = hub.client(Chat, shards.router())
        ...
        shards.assign(["ws://b:8080", "ws://c:8080"])
        ```
    """

    def __init__(self, count: int, targets: Sequence[RpcTarget], *, names: Sequence[str] | None = None) -> None:
        """Make shards.

        Args:
            count: How many; never to be changed, because keys would move.
            targets: Where they are.
            names: What the targets are called in all processes, see `assign`.

        Raises:
            ValueError: If there are no shards or no targets, or not as many names as targets.
        """
        if count < 1:
            raise ValueError(f"there has to be a shard, not {count}")
        self._refs = [RpcRef(LOCAL, name=f"shard {index}") for index in range(count)]
        self.assign(targets, names=names)

    @property
    def refs(self) -> tuple[RpcRef, ...]:
        """One ref for each shard."""
        return tuple(self._refs)

    def ref(self, key: str | bytes | int | UUID) -> RpcRef:
        """Return the ref of the shard that a key belongs to."""
        return self._refs[stable_hash(key) % len(self._refs)]

    def router(self, key: RpcKey | None = None) -> RpcRouter:
        """Return a router that sends each call to the shard of its key, by default its first argument."""
        key_of = key or first_argument
        return lambda method, values: self.ref(key_of(method, values))

    def assign(self, targets: Sequence[RpcTarget], *, names: Sequence[str] | None = None) -> None:
        """Spread the shards over these targets; only shards whose target has changed are rerouted.

        Args:
            targets: Where shards may be from now on.
            names: What the targets are called in all processes; by default their URLs. A process that is a target
                itself, as `LOCAL`, has to have the name that others call it by.

        Raises:
            ValueError: If there are no targets, or not as many names as targets.
        """
        if not targets:
            raise ValueError("shards have to be somewhere: give at least one target")
        if names is None and not all(isinstance(target, str) for target in targets):
            raise ValueError(
                "a target that isn't a URL has no name that others know; give `names`, the same everywhere"
            )
        called = [str(target) for target in targets] if names is None else list(names)
        if len(called) != len(targets):
            raise ValueError(f"there are {len(targets)} targets and {len(called)} names")
        for index, ref in enumerate(self._refs):
            best = max(range(len(targets)), key=lambda at: (stable_hash(f"{index}/{called[at]}"), called[at]))
            ref.reroute(targets[best])
