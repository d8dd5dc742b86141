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


async def show(url: str, cache: Path, *, has_server: bool = True) -> None:
    """Be a client, from its start until it shows a forecast that its server has confirmed, if there is one."""
    async with FusionHub(cache=SqliteCache(cache)) as hub, PeerStateMonitor(hub, url) as link:
        weather = hub.client(Weather, url)

        async def line() -> str:
            return await weather.get("Lisbon")

        async with ComputedState(line, update_delayer=FixedDelayer(0)) as state:
            async for computed in state.changes():
                if not Synchronizer.PRECISE.is_synchronized(computed):
                    print(f"  {computed.value} (as of before)")
                    if not has_server:
                        break
                    await Synchronizer.PRECISE.wait_synchronized(computed)
                if Synchronizer.PRECISE.is_synchronized(computed):
                    print(f"  {computed.value}")
                    break
                # The server has said something else, which comes next.
        print(f"  {'online' if link.state.value.is_connected else 'offline'}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "weather.db"
        print("the first start, with a server:")
        async with FusionHub() as server:
            listener = await serve(server, "sunshine")
            url, port = listener.url, listener.port
            await show(url, cache)

        print("the second start, without one:")
        await show(url, cache, has_server=False)

        print("the third start, before a server that knows better:")
        client = asyncio.create_task(show(url, cache))
        await asyncio.sleep(0.2)
        async with FusionHub() as server:
            await serve(server, "rain", port)
            await client

            print("the fourth start, before a server that says the same:")
            await show(url, cache)


if __name__ == "__main__":
    asyncio.run(main())
