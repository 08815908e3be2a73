"""How late the loop is: measured, kept, and told."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.parts.onloop import run, soon
from worker68.observe import lag as lag_module
from worker68.observe.lag import LoopLag


def test_a_loop_that_stood_still_was_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_module, "LOOK_SECONDS", 0.01)

    async def stand_still() -> LoopLag:
        lag = LoopLag(asyncio.get_running_loop())
        lag.start()
        time.sleep(0.3)

        async def wait_for_a_look() -> None:
            while not samples_of(lag):
                await asyncio.sleep(0)

        await soon(wait_for_a_look())
        return lag

    lag = run(stand_still())
    assert lag.last_seconds > 0.25
    assert samples_of(lag) == 1


def samples_of(lag: LoopLag) -> float:
    (family,) = lag.seconds.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_count"))
