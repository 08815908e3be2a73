"""The scheduler: which accounts get the room that comes free in the worker, and what holds up which others."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import pytest

from tests.parts.clock import Clock
from tests.parts.jobs import job
from tests.parts.onloop import PATIENCE_SECONDS, run
from worker68.broker.doorbell import Changed
from worker68.broker.inbox import Inbox
from worker68.broker.place import Place, Popped
from worker68.broker.source import Batch
from worker68.clock import monotonic
from worker68.errors import DatabaseAway, RowsLocked
from worker68.execution.capacity import Capacity
from worker68.execution.slots import Choice, Ready, Slot, ask_of
from worker68.fleet.leases import Lease, account_lease
from worker68.jobs.job import Job
from worker68.loop import Loop, Stopping
from worker68.scheduling import owned_accounts
from worker68.scheduling import scheduler as scheduler_module
from worker68.scheduling.owned_accounts import OwnedAccounts
from worker68.scheduling.scheduler import Scheduler
from worker68.scheduling.starter import Starter


class Silence:
    """A Redis in which nothing arrives; where there is no room, something waits."""

    bell_armed = True

    def __init__(self) -> None:
        self._ends = os.pipe()
        self.pops = 0

    def fileno(self) -> int:
        return self._ends[0]

    def take_changed(self) -> Changed:
        return Changed()

    def pop(self, places: Sequence[Place], limit: int) -> Batch:
        self.pops += 1
        return Batch(crowded=frozenset(place.name for place in places if not place.room))

    def ack(self, messages: object) -> None:
        """Nothing was popped."""

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@dataclass
class Account:
    """An account, and its upkeep, with jobs without an end. ``on_choice`` and ``on_tending`` are called before each."""

    name: str
    most_at_once: int = 8
    room: int = 1000
    tend_at: float = math.inf
    running: int = 0
    begun: int = 0
    on_choice: Callable[[], None] = lambda: None
    on_tending: Callable[[], None] = lambda: None
    capacity: Capacity = field(default_factory=lambda: Capacity(0))

    @property
    def upkeep(self) -> Any:
        return self

    async def tend(self) -> None:
        self.on_tending()

    def take(self, jobs: Sequence[Job]) -> None:
        """There are jobs without an end."""

    def distrust(self) -> None:
        """Nothing of it is in SQL."""

    async def choose(self) -> Choice:
        chosen = max(0, min(self.capacity.free, self.most_at_once - self.running))
        self.count(chosen)
        short = self.capacity.free <= 0
        self.on_choice()
        self.begun += chosen
        now = monotonic()
        ready = [Ready(one, Slot(ask_of(one), now, now)) for one in map(job, range(chosen))]
        return Choice(ready, [], None, short=short)

    def count(self, jobs: int) -> None:
        """Count jobs that begin, or end."""
        self.running += jobs
        self.capacity.occupied += jobs


async def schedule(
    accounts: list[Account],
    concurrency: int,
    until: Callable[[], bool],
    begin: Callable[[Scheduler, Account], None],
    on_opening: Callable[[str], None] = lambda name: None,
    source: Silence | None = None,
    intake: object = None,
) -> None:
    """Let a scheduler look after these accounts, in their order, until the condition is true."""
    by_name = {one.name: one for one in accounts}

    async def open_account(name: str, lease: Lease) -> Any:
        on_opening(name)
        return by_name[name]

    loop = cast(Loop, asyncio.get_running_loop())
    stopping = Stopping(loop)
    inbox = Inbox(cast(Any, source or Silence()), cast(Any, intake), lambda: None)
    owned = OwnedAccounts(open_account, inbox)
    capacity = Capacity(concurrency)
    for one in accounts:
        one.capacity = capacity
    starter = Starter(
        owned, capacity, lambda account, ready: begin(scheduler, cast(Any, account)), lambda jobs: None, stopping
    )
    scheduler = Scheduler(owned, inbox, starter, lambda: None, stopping, loop)
    for name in by_name:
        scheduler.gained(Lease(account_lease(name), "worker", 1, math.inf))
    running = asyncio.ensure_future(scheduler.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not until():
                await asyncio.sleep(0.001)
    finally:
        scheduler.stop()
        await running


def end_soon(scheduler: Scheduler, account: Account) -> None:
    """Let a job end at once."""

    def end() -> None:
        account.count(-1)
        scheduler.job_ended(account.name)

    asyncio.get_running_loop().call_soon(end)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_account_does_not_keep_the_whole_room_to_itself(concurrency: int) -> None:
    accounts = [Account("a"), Account("b"), Account("c")]
    run(schedule(accounts, concurrency, lambda: all(one.begun > 20 for one in accounts), end_soon))


def test_room_that_comes_free_while_an_account_is_offered_none_is_not_lost() -> None:
    busy, waits = Account("busy", most_at_once=1), Account("waits")
    schedulers: list[Scheduler] = []

    def end_the_other() -> None:
        if busy.running:
            busy.count(-busy.running)
            busy.most_at_once = 0
            schedulers[0].job_ended("busy")

    waits.on_choice = end_the_other
    run(schedule([busy, waits], 1, lambda: waits.begun > 0, lambda scheduler, _: schedulers.append(scheduler)))


def test_accounts_that_are_open_go_on_while_many_others_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.scheduling.owned_accounts")
    accounts = [Account(name) for name in ("a", "b", "c")]
    happened: list[str] = []

    def open_slowly(name: str) -> None:
        happened.append(f"open {name}")
        clock.pass_by(2.0)

    run(
        schedule(
            accounts,
            100,
            lambda: all(one.begun for one in accounts),
            lambda _, account: happened.append(f"begin {account.name}"),
            open_slowly,
        )
    )
    assert happened.index("begin a") < happened.index("open b")
    assert happened.index("begin b") < happened.index("open c")


def test_an_account_that_stays_locked_keeps_no_other_from_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.scheduling.owned_accounts")
    locked, free = Account("locked"), Account("free")

    def open_slowly(name: str) -> None:
        clock.pass_by(2.0)
        if name == "locked":
            raise RowsLocked("by an owner that is frozen")

    run(schedule([locked, free], 100, lambda: bool(free.begun), lambda *_: None, open_slowly))


def test_an_account_that_rests_while_the_database_comes_back_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(owned_accounts, "REST_SECONDS", 0.1)
    failures: dict[str, list[Exception]] = {"a": [ValueError("a fault")], "b": [DatabaseAway("gone")]}

    def fail(name: str) -> None:
        if failures[name]:
            raise failures[name].pop()

    accounts = [Account(name, on_tending=partial(fail, name)) for name in "ab"]
    run(schedule(accounts, 16, lambda: all(one.begun for one in accounts), begin=lambda scheduler, account: None))


def test_room_that_is_counted_anew_lets_messages_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # The slow round over all places stands still.
    modules = ("scheduling.scheduler", "scheduling.owned_accounts", "broker.inbox")
    Clock().drive(monkeypatch, *(f"worker68.{module}" for module in modules))
    account, source = Account("a", most_at_once=0, room=0), Silence()

    def count() -> None:
        if source.pops:
            account.room, account.tend_at = 5, math.inf

    account.on_tending, account.tend_at = count, 0.0
    run(schedule([account], 1, lambda: source.pops > 1, lambda *_: None, source=source))


class Flood(Silence):
    """A Redis in which there is always another message of one account."""

    def __init__(self, account: str) -> None:
        super().__init__()
        self.account = account

    def pop(self, places: Sequence[Place], limit: int) -> Batch:
        popped = tuple(Popped(one, b"", b"", b"") for one in places if one.name == self.account)
        return Batch(popped, again=(self.account,))


def test_a_job_that_comes_while_many_accounts_are_due_does_not_wait_for_all_of_them() -> None:
    tended: list[str] = []
    many = [Account(f"a{number}", most_at_once=0, tend_at=0.0) for number in range(500)]
    for one in many:
        one.on_tending = partial(tended.append, one.name)
    busy = Account("busy", most_at_once=1)

    class Intake:
        def take_in(self, arrivals: Sequence[object], now: object) -> list[Job]:
            return [replace(job(1), account="busy") for _ in arrivals]

    tended_before: list[int] = []
    run(
        schedule(
            [*many, busy],
            100,
            lambda: bool(tended_before),
            lambda *_: tended_before.append(len(tended)),
            source=Flood("busy"),
            intake=Intake(),
        )
    )
    assert tended_before[0] < len(many)


def test_new_jobs_of_one_account_do_not_pass_another_that_waits_for_room() -> None:
    flooded, waits = Account("flooded"), Account("waits")
    begun: list[tuple[Scheduler, asyncio.AbstractEventLoop]] = []

    def end(over: threading.Event) -> None:
        if flooded.running:
            flooded.count(-1)
            begun[0][0].job_ended("flooded")
        over.set()

    class Intake:
        """The job that runs ends while the next one is taken in."""

        def take_in(self, arrivals: Sequence[object], now: object) -> list[Job]:
            if begun:
                over = threading.Event()
                begun[0][1].call_soon_threadsafe(end, over)
                assert over.wait(PATIENCE_SECONDS)
            return [replace(job(1), account="flooded") for _ in arrivals]

    run(
        schedule(
            [flooded, waits],
            1,
            lambda: waits.begun > 0,
            lambda scheduler, _: begun.append((scheduler, asyncio.get_running_loop())),
            source=Flood("flooded"),
            intake=Intake(),
        )
    )
