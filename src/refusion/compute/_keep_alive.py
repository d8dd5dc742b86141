"""Holding results for a while after their last use.

CPython frees an unreferenced result the moment the call that made it returns, so recent results are held.
A hit must not cost a look at the clock: it only notes the current *epoch*, a number that grows with each
tick of an eighth of the hold duration. Results are kept in one dict per epoch; when an epoch has aged out,
its results are let go, except those used since, which move on to the epoch of their last use.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

from refusion._base._clock import TimerHandle, current_clock, on_clock_changed

from ._graph import graph_lock

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["HoldQueue"]

_TICKS: Final = 8


@final
class HoldQueue:
    """Holds results for `duration` seconds after their last use, give or take one tick of an eighth of it."""

    def __init__(self, duration: float, limit: int | None) -> None:
        """Create a queue.

        Args:
            duration: How long to hold; `math.inf` until invalidated.
            limit: How many results at most, about; the least recently used go first. None for any number.
        """
        self.duration: float = duration
        self.epoch: int = 0
        self._limit = None if limit is None else max(1, limit // _TICKS)
        self._newest: dict[Computed[Any], None] = {}
        self._generations: deque[dict[Computed[Any], None]] = deque([self._newest])
        self._tick = duration / _TICKS
        self._next_tick = 0.0
        self._timer: TimerHandle | None = None
        on_clock_changed(self._clock_changed)

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    def hold(self, computed: "Computed[Any]") -> None:
        """Hold a result from now on, or renew the hold; the caller holds the lock."""
        held_in = computed._held_in
        newest = self._newest
        if held_in is newest:
            return
        if held_in is not None:
            held_in.pop(computed, None)
        newest[computed] = None
        computed._held_in = newest
        if self._timer is None:
            self._arm()
        elif not len(newest) & 0xFF:
            self._catch_up()

    @staticmethod
    def release(computed: "Computed[Any]") -> None:
        """Let a result go; the caller holds the lock."""
        if computed._held_in is not None:
            computed._held_in.pop(computed, None)
            computed._held_in = None

    def release_all(self) -> None:
        """Let all results go."""
        with graph_lock:
            for generation in self._generations:
                for computed in generation:
                    computed._held_in = None
                    computed._function.cool_down(computed)
                generation.clear()
            self._stop()

    def _arm(self) -> None:
        if self._tick == float("inf") or self._tick == 0:
            return
        clock = current_clock()
        self._next_tick = clock.now() + self._tick
        self._timer = clock.call_at(self._next_tick, self._on_tick)

    def _clock_changed(self) -> None:
        with graph_lock:
            self._stop()
            if len(self) > 0:
                self._arm()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_tick(self) -> None:
        with graph_lock:
            self._timer = None
            self._advance()
            if len(self) > 0:
                self._arm()

    def _catch_up(self) -> None:
        """Do what a timer should have done: it may have died with its loop, or be late in a busy one."""
        now = current_clock().now()
        if self._limit is not None and len(self._newest) >= self._limit:
            self._advance()
        if now < self._next_tick + self._tick:
            return
        self._stop()
        for _ in range(min(_TICKS + 1, int((now - self._next_tick) / self._tick) + 1)):
            self._advance()
        self._arm()

    def _advance(self) -> None:
        self.epoch += 1
        self._newest = {}
        self._generations.append(self._newest)
        while len(self._generations) > _TICKS + 1:
            self._retire(self._generations.popleft())

    def _retire(self, generation: "dict[Computed[Any], None]") -> None:
        retired_epoch = self.epoch - len(self._generations)
        for computed in generation:
            last_use = computed._function.last_use(computed)
            if last_use > retired_epoch:
                later = self._generations[last_use - self.epoch - 1]
                later[computed] = None
                computed._held_in = later
            else:
                computed._held_in = None
                computed._function.cool_down(computed)
