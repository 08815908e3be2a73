"""How late the loop is: measured and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from worker68.observe.metrics import LOOK_SECONDS, LoopLag


class StillLoop:
    """A loop whose time the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., None], *given: Any) -> None:
        self.timers.append((when, callback, given))

    def run_timer(self, late_seconds: float) -> None:
        """Let the next timer run so late."""
        when, callback, given = self.timers.pop(0)
        self.now = when + late_seconds
        callback(*given)


def test_each_timer_is_measured_and_the_next_one_is_set() -> None:
    loop = StillLoop()
    lag = LoopLag(cast(asyncio.AbstractEventLoop, loop))
    lag.start()
    assert loop.timers[0][0] == loop.now + LOOK_SECONDS
    for late_seconds, measured in ((0.3, 0.3), (0.0, 0.0), (-0.001, 0.0)):
        loop.run_timer(late_seconds)
        assert round(lag.last_seconds, 6) == measured
    assert samples_of(lag) == 3
    assert len(loop.timers) == 1


def samples_of(lag: LoopLag) -> float:
    (family,) = lag.seconds.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_count"))
