"""Following calls: hooks for tracers, and the W3C trace context that calls carry.

The context travels in the headers `~p` (traceparent) and `~s` (tracestate), as with the reference; see
https://www.w3.org/TR/trace-context/. A handler's own calls carry on the context that it was called with.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, final

from refusion._base._logging import log_failure

from ._call_context import InboundContext, OutboundContext, Proceed
from .protocol._message import Headers

__all__ = [
    "RpcTracer",
    "TraceContext",
    "current_trace",
    "enter_trace",
    "trace_headers",
    "trace_inbound",
    "trace_outbound",
    "with_trace",
]

TRACE_PARENT: Final = "~p"
TRACE_STATE: Final = "~s"
_PARENT_LENGTH: Final = 55
_MAX_STATE_LENGTH: Final = 512

Ended = Callable[[BaseException | None], object]


@final
@dataclass(frozen=True, slots=True)
class TraceContext:
    """Which trace a call is a part of."""

    parent: str
    """The traceparent: version, trace id, span id, and flags; 55 characters."""

    state: str = ""
    """The tracestate: what vendors have to say, at most 512 characters."""

    def __post_init__(self) -> None:
        if len(self.parent) != _PARENT_LENGTH:
            raise ValueError(f"a traceparent has {_PARENT_LENGTH} characters, not {len(self.parent)}: {self.parent!r}")
        if len(self.state) > _MAX_STATE_LENGTH:
            raise ValueError(f"a tracestate has at most {_MAX_STATE_LENGTH} characters, not {len(self.state)}")


_current_trace: Final[ContextVar[TraceContext | None]] = ContextVar("refusion_rpc_trace", default=None)


def current_trace() -> TraceContext | None:
    """Return the trace that calls made here are a part of; in a handler it is that of the call at first."""
    return _current_trace.get()


@contextmanager
def enter_trace(trace: TraceContext | None) -> Generator[None, None, None]:
    """Make calls in the `with` block a part of a trace; None ends that they are."""
    token = _current_trace.set(trace)
    try:
        yield
    finally:
        _current_trace.reset(token)


class RpcTracer:
    """Is told of the calls of a hub. Override what is of interest; `RpcHub.add_tracer` puts it in place.

    Each method may return a function that is called once when the call has ended, with its error or None. What
    these raise is logged and changes nothing for the call.
    """

    def inbound(self, call: InboundContext) -> Ended | None:
        """Be told that a call is about to be handled, in the task and the context of its handler."""
        return None

    def outbound(self, call: OutboundContext) -> Ended | None:
        """Be told that a call is about to be made; `call.headers` may be added to."""
        return None


async def trace_inbound(tracer: RpcTracer, call: InboundContext, proceed: Proceed) -> Any:
    """Tell a tracer of a call that is handled."""
    return await _trace(tracer.inbound, call, proceed)


async def trace_outbound(tracer: RpcTracer, call: OutboundContext, proceed: Proceed) -> Any:
    """Tell a tracer of a call that is made."""
    return await _trace(tracer.outbound, call, proceed)


def trace_headers() -> Headers:
    """Return the headers that carry the current trace."""
    trace = _current_trace.get()
    if trace is None:
        return ()
    parent = (TRACE_PARENT, trace.parent)
    return (parent, (TRACE_STATE, trace.state)) if trace.state else (parent,)


def with_trace(headers: Mapping[str, str]) -> Headers:
    """Return headers that middleware has filled together with those of the current trace; its own ones count."""
    return tuple({**dict(trace_headers()), **headers}.items()) if headers else trace_headers()


def set_trace(headers: Headers) -> None:
    """Make the trace that a call carries the current one, in the running context; what can't be one is ignored."""
    values = dict(headers)
    parent, state = values.get(TRACE_PARENT, ""), values.get(TRACE_STATE, "")
    if len(parent) == _PARENT_LENGTH:
        _current_trace.set(TraceContext(parent, state if len(state) <= _MAX_STATE_LENGTH else ""))


async def _trace(started: Callable[[Any], Ended | None], call: Any, proceed: Proceed) -> Any:
    ended = _guarded(started, call)
    try:
        result = await proceed()
    except BaseException as error:
        if ended is not None:
            _guarded(ended, error)
        raise
    if ended is not None:
        _guarded(ended, None)
    return result


def _guarded(hook: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return hook(argument)
    except Exception:
        log_failure("a tracer", hook)
        return None
