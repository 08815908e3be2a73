"""The pump: which accounts get the room that comes free in the worker."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.parts.jobs import job
from tests.parts.onloop import PATIENCE_SECONDS, run
from worker68.broker import pump as module
from worker68.broker.doorbell import Changed
from worker68.broker.pump import Pump
from worker68.broker.source import Batch
from worker68.clock import monotonic
from worker68.execution.slots import Choice, Ready, Slot, ask_of
from worker68.fleet.leases import Lease, account_lease
from worker68.loop import Loop


class Silence:
    """A Redis in which nothing arrives."""

    bell_armed = True

    def __init__(self) -> None:
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def take_changed(self) -> Changed:
        return Changed()

    def pop(self, places: object, limit: int) -> Batch:
        return Batch()

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@dataclass
class Account:
    """A desk with jobs without an end. ``on_choice`` is called before each choice."""

    account: str
    most_at_once: int = 8
    room: int = 1000
    tend_at: float = math.inf
    running: int = 0
    begun: int = 0
    on_choice: Callable[[], None] = lambda: None
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    @property
    def execution(self) -> Any:
        return SimpleNamespace(dispatch=SimpleNamespace(in_flight=self.running, occupied=self.running))

    async def tend(self) -> bool:
        return False

    def distrust(self) -> None:
        """Nothing of it is in SQL."""

    async def choose(self, room: int) -> Choice:
        chosen = max(0, min(room, self.most_at_once - self.running))
        self.on_choice()
        self.running += chosen
        self.begun += chosen
        now = monotonic()
        return Choice([Ready(one, Slot(ask_of(one), now, now)) for one in map(job, range(chosen))], [], None)


async def pump_for(
    accounts: list[Account], concurrency: int, until: Callable[[], bool], begin: Callable[[Pump, Account], None]
) -> None:
    """Let a pump look after these accounts, in their order, until the condition is true."""
    desks = {one.account: one for one in accounts}

    async def open_desk(name: str, lease: Lease) -> Any:
        return desks[name]

    pump = Pump(
        cast(Any, None),
        cast(Any, None),
        cast(Any, Silence()),
        lambda desk, ready: begin(pump, cast(Account, desk)),
        open_desk,
        lambda: None,
        lambda jobs: None,
        concurrency,
        cast(Loop, asyncio.get_running_loop()),
    )
    for name in desks:
        pump.gained(Lease(account_lease(name), "worker", 1, math.inf))
    running = asyncio.ensure_future(pump.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not until():
                await asyncio.sleep(0.001)
    finally:
        pump.stop()
        await running


@pytest.fixture(autouse=True)
def without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_version", lambda engine: None)


def end_soon(pump: Pump, desk: Account) -> None:
    """Let a job end at once."""

    def end() -> None:
        desk.running -= 1
        pump.job_ended(desk.account)

    asyncio.get_running_loop().call_soon(end)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_account_does_not_keep_the_whole_room_to_itself(concurrency: int) -> None:
    accounts = [Account("a"), Account("b"), Account("c")]
    run(pump_for(accounts, concurrency, lambda: all(one.begun > 20 for one in accounts), end_soon))


def test_room_that_comes_free_while_an_account_is_offered_none_is_not_lost() -> None:
    busy, waits = Account("busy", most_at_once=1), Account("waits")
    pumps: list[Pump] = []

    def end_the_other() -> None:
        if busy.running:
            busy.running, busy.most_at_once = 0, 0
            pumps[0].job_ended("busy")

    waits.on_choice = end_the_other
    run(pump_for([busy, waits], 1, lambda: waits.begun > 0, lambda pump, _: pumps.append(pump)))
