"""A client that starts without a network, shows what it knew, and learns what is true: `python -m samples.offline`."""

import asyncio
import tempfile
from pathlib import Path

from refusion import ComputedState, FixedDelayer, FusionHub, PeerStateMonitor, SqliteCache, Synchronizer, compute_method
from refusion.rpc.transports import Server


class Weather:
    @compute_method
    async def get(self, city: str) -> str:
        """Return what the weather is like."""
        raise NotImplementedError


class WeatherService(Weather):
    def __init__(self, forecast: str) -> None:
        self._forecast = forecast

    @compute_method
    async def get(self, city: str) -> str:
        return f"{self._forecast} in {city}"


async def serve(hub: FusionHub, forecast: str, port: int = 0) -> Server:
    hub.add_service(Weather, WeatherService(forecast))
    return await hub.serve(port=port)


async def show(url: str, cache: Path, *, until: str) -> None:
    """Be a client, from its start until it shows a forecast that its server has confirmed."""
    async with FusionHub(cache=SqliteCache(cache)) as hub, PeerStateMonitor(hub, url) as link:
        weather = hub.client(Weather, url)

        async def line() -> str:
            return await weather.get("Lisbon")

        async with ComputedState(line, update_delayer=FixedDelayer(0)) as state:
            shown = ""
            while until not in shown:
                computed = await state.when_updated()
                is_known = Synchronizer.PRECISE.is_synchronized(computed)
                shown = f"{computed.value}{'' if is_known else ' (as of before)'}"
                print(f"  {shown}")
        print(f"  {'online' if link.state.value.is_connected else 'offline'}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "weather.db"
        print("the first start, with a server:")
        async with FusionHub() as server:
            listener = await serve(server, "sunshine")
            url, port = listener.url, listener.port
            await show(url, cache, until="sunshine")

        print("the second start, without one:")
        await show(url, cache, until="as of before")

        print("the third start, before a server that knows better:")
        client = asyncio.create_task(show(url, cache, until="rain"))
        await asyncio.sleep(0.2)
        async with FusionHub() as server:
            await serve(server, "rain", port)
            await client


if __name__ == "__main__":
    asyncio.run(main())
