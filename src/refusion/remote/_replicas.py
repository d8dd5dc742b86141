"""Compute methods whose body is a call to another process, and whose results are replicas of values there."""

import functools
from collections.abc import Sequence
from typing import Any, Final

from refusion._base._clock import current_clock
from refusion._base._retries import RetryDelays
from refusion.compute import Computed, ComputedOptions, ComputeMethod
from refusion.rpc import MethodDefinition, OutboundContext, RpcCallCancelled, RpcPeer

from ._compute_calls import InvalidatedBeforeResult, OutboundComputeCall

__all__ = ["CLIENT_OPTIONS", "remote_compute_method"]

CLIENT_OPTIONS: Final = ComputedOptions(min_cache_duration=60.0)
"""A replica is kept for a minute after its last use: to forget it would cost two messages and a call."""

_MAX_TRIES: Final = 3
_MAX_DURATION: Final = 5.0
_DELAYS: Final = RetryDelays(0.05, 1.0)


def remote_compute_method(method: MethodDefinition, peer: RpcPeer) -> ComputeMethod:
    """Return a compute method that asks the other side, and keeps its answer while that is true.

    It has the options of the contract's method that concern keeping a result; when it is invalidated is up to
    the server, and `invalidating()` doesn't touch it.
    """
    attribute: ComputeMethod = method.attribute
    declared: ComputedOptions = attribute.declared_options

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await fetch(peer, method, method.bind(args, kwargs))

    options = ComputedOptions(
        keep_alive=declared.keep_alive,
        min_cache_duration=declared.min_cache_duration,
        transient_error_invalidation_delay=declared.transient_error_invalidation_delay,
        non_transient_error_invalidation_delay=declared.non_transient_error_invalidation_delay,
    ).merged(CLIENT_OPTIONS)
    kind: type[ComputeMethod] = type(attribute)  # pyright: ignore[reportUnknownVariableType]
    return kind(call, options, attribute.binder.custom_key, is_invalidated_by_calls=False)


async def fetch(peer: RpcPeer, method: MethodDefinition, values: Sequence[Any]) -> Any:
    """Ask the other side for a value, and let the computed that asks stand or fall with the answer.

    An answer that stops being true before it arrives is asked for again, a few times.
    """
    replica = Computed.current()
    clock = current_clock()
    deadline = clock.now() + _MAX_DURATION
    tries = 1
    while True:
        context = OutboundContext(method, values, peer)
        try:
            value = await peer.hub.outbound.run(context)
        except (InvalidatedBeforeResult, RpcCallCancelled) as error:
            _tie(context, None)
            if tries >= _MAX_TRIES or clock.now() >= deadline:
                raise RpcCallCancelled(f"{method.full_name} was cancelled by the server {tries} times") from error
        except Exception:
            _tie(context, replica)
            raise
        except BaseException:
            _tie(context, None)
            raise
        else:
            _tie(context, replica)
            return value
        await clock.sleep(_DELAYS.delay(tries))
        tries += 1


def _tie(context: OutboundContext, replica: Computed[Any] | None) -> None:
    """Let the call that was made end with the replica; without one it ends now."""
    call = context.call
    if call is None:
        # Middleware had an answer of its own, so there is nobody who tells when that stops being true.
        return
    assert isinstance(call, OutboundComputeCall)  # noqa: S101  # of the kind that the hub has for it
    if replica is None:
        call.release()
    else:
        call.attach(replica)
