"""One call: its method is run for as long as the client is there, and its result sent."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from refusion._base._logging import logger
from refusion.rpc import InboundContext, RpcInternalError
from refusion.rpc._call_context import set_headers
from refusion.rpc._tracing import set_trace

from ._asgi import Receive, Response, Send, respond, start_response, wait_gone
from ._problems import PROBLEM_TYPE, ProblemError, encode_problem, problem_of
from ._routes import MethodRoute

if TYPE_CHECKING:
    from ._endpoint import ServingHub

__all__ = ["answer_call", "problem_response"]

_JSON_TYPE: Final = "application/json"
_LINES_TYPE: Final = "application/x-ndjson"


def problem_response(error: ProblemError) -> Response:
    """Return the answer that tells of a problem."""
    return Response(error.problem.status, encode_problem(error.problem), PROBLEM_TYPE, error.headers)


async def answer_call(
    hub: "ServingHub", route: MethodRoute, context: InboundContext, receive: Receive, send: Send
) -> None:
    """Run a method and send what comes of it.

    When the client goes away, or the caller is cancelled, the method is cancelled and waited for; one that
    nobody waits for runs to its end.
    """
    if route.definition.is_no_wait:
        await respond(send, Response(202))
        await _run_unattended(hub, context)
        return
    work = asyncio.create_task(_answer(hub, route, context, send), name=route.definition.wire_name)
    leaving = asyncio.create_task(wait_gone(receive), name="client leaves")
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        leaving.cancel()
        await asyncio.wait((work, leaving))
    for task in (work, leaving):
        if not task.cancelled():
            task.result()


async def _answer(hub: "ServingHub", route: MethodRoute, context: InboundContext, send: Send) -> None:
    try:
        result = await _invoke(hub, context)
        if route.item_type is not None:
            await _send_items(route, result, send)
            return
        response = Response(204) if route.is_void else Response(200, route.encode(result), _JSON_TYPE)
    except (KeyboardInterrupt, SystemExit, _Broken):
        raise
    except BaseException as error:
        # Also what isn't an Exception, as a group with a cancellation in it: somebody waits for an answer.
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        response = _failure(hub, route, error)
    await respond(send, response)


async def _invoke(hub: "ServingHub", context: InboundContext) -> Any:
    set_headers(context.headers)
    set_trace(context.headers)
    return await hub.invoke(context)


async def _send_items(route: MethodRoute, stream: AsyncIterable[Any], send: Send) -> None:
    """Send each item as a line. The answer begins with the first of them, so that an error before it has a status."""
    iterator = aiter(stream)
    try:
        line = await _next_line(route, iterator)
        await start_response(send, 200, _LINES_TYPE)
        try:
            while line is not None:
                # Waits as long as the client doesn't read.
                await send({"type": "http.response.body", "body": line, "more_body": True})
                line = await _next_line(route, iterator)
        except Exception as error:
            # No status can be told any more; the server cuts the connection, so that it doesn't look complete.
            raise _Broken(f"the stream of {route.definition.full_name} broke off") from error
        await send({"type": "http.response.body", "body": b""})
    finally:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()


class _Broken(Exception):
    """Raised when an answer can't go on."""


async def _next_line(route: MethodRoute, iterator: AsyncIterator[Any]) -> bytes | None:
    try:
        item = await anext(iterator)
    except StopAsyncIteration:
        return None
    text = route.encode(item)
    if b"\n" in text:
        # Raw JSON of the service's own may be laid out.
        text = msgspec.json.format(text, indent=-1)
    return text + b"\n"


async def _run_unattended(hub: "ServingHub", context: InboundContext) -> None:
    try:
        await _invoke(hub, context)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        logger.error("%s failed, and nobody waits for it", context.method.full_name, exc_info=error)


def _failure(hub: "ServingHub", route: MethodRoute, error: BaseException) -> Response:
    name = route.definition.full_name
    shown = hub.filter_error(error)
    problem = problem_of(error, shown, name)
    if problem.problem.status == 500 and not isinstance(shown, RpcInternalError):
        # Otherwise it was logged already, under the number that is told.
        logger.error("%s failed", name, exc_info=error)
    return problem_response(problem)


def _is_cancelled() -> bool:
    """Tell whether this task was cancelled, rather than something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
