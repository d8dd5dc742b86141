"""The samples do what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from refusion import collect
from samples.stocks.contract import Holding
from samples.stocks.history import load_history
from samples.stocks.service import StockService

ROOT = Path(__file__).parents[2]


def run(*arguments: str, timeout: float = 40) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def test_the_counters_sample_prints_what_the_readme_shows() -> None:
    done = run("-m", "samples.counters")
    assert done.returncode == 0, done.stderr
    output = re.sub(r"\(\S*samples", "(samples", done.stdout)
    readme = (ROOT / "README.md").read_text()
    assert output in readme
    source = (ROOT / "samples" / "counters.py").read_text()
    assert source.partition("\n\n")[2].strip() in readme
    assert len(source.splitlines()) <= 45


def test_the_transport_of_ones_own_carries_a_call() -> None:
    done = run("-m", "samples.tcp_transport")
    assert (done.returncode, done.stdout) == (0, "tcp Hello, TCP!\n"), done.stderr


def test_the_demo_survives_a_crash_of_its_server() -> None:
    done = run("-m", "samples.stocks", "--seconds", "4", "--pace", "0.2", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("connected", "connection lost", "connected again", "remote calls", "local hits", "reconnects"):
        assert text in done.stdout
    assert re.search(r"AAPL\s+\d+\.\d\d", done.stdout)


def test_each_chat_has_its_server_and_its_watcher_sees_every_message() -> None:
    done = run("-m", "samples.multi_server")
    assert done.returncode == 0, done.stdout + done.stderr
    homes = re.findall(r"(\w+): '.*' went to (\w+)", done.stdout)
    assert len(homes) == 12
    assert len(set(homes)) == 4
    assert {server for _, server in homes} == {"Server0", "Server1"}
    assert len(re.findall(r"12 words", done.stdout)) == 4


def test_a_client_shows_what_it_knew_without_a_network_and_then_what_is_true() -> None:
    done = run("-m", "samples.offline")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "the first start, with a server:",
        "sunshine in Lisbon",
        "online",
        "the second start, without one:",
        "sunshine in Lisbon (as of before)",
        "offline",
        "the third start, before a server that knows better:",
        "sunshine in Lisbon (as of before)",
        "rain in Lisbon",
        "online",
        "the fourth start, before a server that says the same:",
        "rain in Lisbon (as of before)",
        "rain in Lisbon",
        "online",
    ]


def test_prices_flow_through_gateways_also_after_one_was_killed() -> None:
    done = run("-m", "samples.gateway", "--seconds", "3", "--pace", "0.1", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("connected to the edge", "the edge is killed", "the edge is lost", "the edge is back"):
        assert text in done.stdout
    counts = re.findall(r"(?:read by them|to the edge|to the origin) +([\d,]+)", done.stdout)
    reads, edge_calls, origin_calls = (int(count.replace(",", "")) for count in counts)
    assert reads > edge_calls > 5 * origin_calls > 0


def test_the_history_is_a_real_one() -> None:
    history = load_history()
    assert len(history) > 100
    assert history[0][1].keys() == {"AAPL", "AMZN", "IBM", "MSFT"}
    assert "GOOG" in history[-1][1]


async def test_the_service_invalidates_what_has_changed_and_nothing_else() -> None:
    history = load_history()
    service = StockService([(history[0][0], {"A": 1.0, "B": 2.0})])
    holdings = (Holding("A", 10), Holding("B", 1))
    portfolio = await service.portfolio_value.capture(holdings)
    a, b = await service.get_price.capture("A"), await service.get_price.capture("B")
    symbols = await service.list_symbols.capture()
    assert portfolio.value == 12.0
    service.set_prices({"A": 1.5, "B": 2.0})
    assert (a.is_invalidated, b.is_invalidated, symbols.is_invalidated) == (True, False, False)
    assert portfolio.is_invalidated
    assert await service.portfolio_value(holdings) == 17.0
    service.set_prices({"A": 1.5})
    assert symbols.is_invalidated
    with pytest.raises(LookupError, match="B isn't traded"):
        await service.get_price("B")
    collect()
