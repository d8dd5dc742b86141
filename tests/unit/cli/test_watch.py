"""`python -m refusion watch` against a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from refusion import FusionHub
from refusion.cli import main
from refusion.cli._watch import UsageError, watch
from samples.stocks.contract import Holding, StockApi
from samples.stocks.service import StockService

CONTRACT = "samples.stocks.contract"


class Stage:
    def __init__(self, service: StockService, url: str) -> None:
        self.service = service
        self.url = url


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    import datetime as dt

    service = StockService([(dt.date(2000, 1, 1), {"A": 1.0})])
    async with FusionHub() as hub:
        hub.add_service(StockApi, service)
        server = await hub.serve()
        yield Stage(service, server.url)


async def test_it_prints_a_value_each_time_it_changes(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    task = asyncio.create_task(watch(stage.url, "StockApi.get_price", ["A"], CONTRACT, count=2))
    output = ""
    async with asyncio.timeout(20):
        while "1.0" not in output:
            await asyncio.sleep(0)
            output += capsys.readouterr().out
        stage.service.set_prices({"A": 2.5})
        await task
    assert "2.5" in output + capsys.readouterr().out


async def test_arguments_are_read_as_the_contract_declares_them(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    holdings = '[{"symbol": "A", "shares": 3}]'
    await watch(stage.url, "StockApi.portfolio_value", [holdings], CONTRACT, count=1, format="json5np")
    assert "3.0" in capsys.readouterr().out
    assert await stage.service.portfolio_value((Holding("A", 3),)) == 3.0


async def test_an_error_is_a_value_to_look_at(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    await watch(stage.url, "StockApi.get_price", ["NONE"], CONTRACT, count=1)
    assert "NONE isn't traded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "arguments", "contract", "text"),
    [
        ("StockApi.get_price", ["A"], "no.such.module", "can't import the contract's module 'no.such.module'"),
        ("Missing.get_price", ["A"], CONTRACT, "has no contract 'Missing' (it has: "),
        ("StockApi.missing", [], CONTRACT, "has no compute method 'missing' (it has: get_price, list_symbols"),
        ("StockApi.get_price", [], CONTRACT, "missing a required argument: 'symbol'"),
        ("StockApi.get_price", ["A", "B"], CONTRACT, "takes 1 arguments, and 2 were given"),
        ("StockApi.portfolio_value", ["{"], CONTRACT, "'{' isn't a"),
        ("get_price", ["A"], CONTRACT, "has no contract ''"),
    ],
)
async def test_wrong_usage_is_told_clearly(target: str, arguments: list[str], contract: str, text: str) -> None:
    with pytest.raises(UsageError) as info:
        await watch("ws://127.0.0.1:1", target, arguments, contract)
    assert text in str(info.value)


def test_the_exit_status_of_wrong_usage_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["watch", "http://wrong", "StockApi.list_symbols", "--contract", CONTRACT]
    assert main(command) == 2
    assert "ws:// or wss://" in capsys.readouterr().err
    assert main(["watch", "ws://x:1", "StockApi.list_symbols", "--contract", CONTRACT, "--format", "morse"]) == 2
    assert "Unsupported RPC serialization format: 'morse'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
