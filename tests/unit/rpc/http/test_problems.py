"""What a failing method is told as, and what isn't told."""

import logging

import httpx
import pytest

from refusion.rpc import (
    RpcArgumentError,
    RpcCallTimeout,
    RpcDisconnected,
    RpcLimitExceeded,
    RpcServiceNotFound,
    hide_internals,
)
from refusion.rpc.protocol import ExceptionInfo, error_from_info

from .shop import ShopService, WatchedHub, post


class OutOfStock(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (ValueError("no such size"), 400, "no such size"),
        (OutOfStock("no pens"), 400, "no pens"),
        (KeyError("pen"), 404, "pen"),
        (LookupError("no pen"), 404, "no pen"),
        (IndexError("no pen"), 404, "no pen"),
        (FileNotFoundError("no list"), 404, "no list"),
        (PermissionError("not yours"), 403, "not yours"),
        (TimeoutError("too slow"), 504, "too slow"),
        (RpcCallTimeout("too slow"), 504, "too slow"),
        (NotImplementedError("not yet"), 501, "not yet"),
        (RpcArgumentError("no pen"), 422, "no pen"),
        (RpcDisconnected("gone"), 503, "gone"),
        (error_from_info(ExceptionInfo("System.ArgumentException, X", "no pen")), 400, "no pen"),
        (error_from_info(ExceptionInfo("System.TimeoutException, X", "slow")), 504, "slow"),
        (ValueError(), 400, "ValueError"),
        (ValueError("a \ud800 of half a pair"), 400, "a ? of half a pair"),
    ],
)
async def test_an_error_has_the_status_of_its_builtin_and_its_own_text(
    client: httpx.AsyncClient, service: ShopService, error: Exception, status: int, detail: str
) -> None:
    service.errors = [error]
    response = await post(client, "Shop/Fail", [0])
    problem = response.json()
    assert (response.status_code, problem["status"], problem["detail"]) == (status, status, detail)
    assert (problem["type"], problem["error"]) == ("about:blank", type(error).__name__)
    assert problem["title"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        OSError("secret"),
        TypeError("secret"),
        BaseExceptionGroup("secret", [KeyboardInterrupt()]),
        RpcServiceNotFound("secret", ()),
        RpcLimitExceeded("secret", 2, 1),
        error_from_info(ExceptionInfo("Secret.Exception", "secret")),
    ],
)
async def test_an_unexpected_error_is_logged_and_not_told(
    client: httpx.AsyncClient, service: ShopService, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    service.errors = [error]
    response = await post(client, "Shop/Fail", [0])
    assert response.status_code == 500
    assert response.json()["detail"] == "Shop.fail failed; the log of the server tells why"
    assert "secret" not in response.text.lower()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_what_the_hub_shows_of_an_error_is_told_in_its_place(
    client: httpx.AsyncClient, service: ShopService, hub: WatchedHub, caplog: pytest.LogCaptureFixture
) -> None:
    service.errors = [RuntimeError("secret"), ValueError("secret"), OSError("secret")]
    hub.shown = {
        RuntimeError: RuntimeError("the till is stuck"),
        ValueError: PermissionError("no"),
        OSError: FileNotFoundError("no such shelf"),
    }
    response = await post(client, "Shop/Fail", [0])
    assert (response.status_code, response.json()["detail"]) == (500, "the till is stuck")
    assert "secret" in caplog.text
    response = await post(client, "Shop/Fail", [1])
    assert (response.status_code, response.json()["detail"]) == (403, "no")
    response = await post(client, "Shop/Fail", [2])
    assert (response.status_code, response.json()["detail"]) == (404, "no such shelf")


async def test_a_hidden_error_is_logged_once_under_the_number_that_is_told(
    client: httpx.AsyncClient, service: ShopService, hub: WatchedHub, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("secret")
    service.errors = [error]
    hub.error_filter = hide_internals
    response = await post(client, "Shop/Fail", [0])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert isinstance(record.args, tuple)
    assert response.status_code == 500
    assert str(record.args[0]) in response.json()["detail"]
    assert "secret" not in response.text


async def test_a_result_that_cant_be_written_is_the_servers_fault(
    client: httpx.AsyncClient, service: ShopService, caplog: pytest.LogCaptureFixture
) -> None:
    for result in (object(), "x" * 16_252_928, "\ud800"):
        service.results = [result]
        response = await post(client, "Shop/Anything", [1])
        assert response.status_code == 500
        assert "the result of Shop.anything can't be sent" in caplog.text
        caplog.clear()
