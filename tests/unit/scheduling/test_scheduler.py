"""The scheduler: which accounts get the room that comes free in the worker, and what holds up which others."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self, cast

import pytest
from structlog.testing import capture_logs

from tests.parts.clock import Clock
from tests.parts.jobs import job
from tests.parts.onloop import PATIENCE_SECONDS, run
from worker68.broker.doorbell import Changed
from worker68.broker.inbox import Inbox
from worker68.broker.place import Place, Popped
from worker68.broker.source import Batch
from worker68.clock import monotonic
from worker68.errors import DatabaseAway, RowsLocked
from worker68.execution.slots import Choice, Ready, Slot, ask_of
from worker68.execution.under_way import Capacity
from worker68.fleet.leases import Lease, account_lease
from worker68.jobs.job import Job
from worker68.loop import Loop, Stopping
from worker68.observe import outages
from worker68.scheduling import owned_accounts
from worker68.scheduling import scheduler as scheduler_module
from worker68.scheduling.owned_accounts import OwnedAccounts
from worker68.scheduling.scheduler import Scheduler, Starter


class Silence:
    """A Redis in which nothing arrives; where there is no room, something waits."""

    armed = True

    def __init__(self) -> None:
        self._ends = os.pipe()
        self.pops = 0

    @property
    def doorbell(self) -> Self:
        return self

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
    """An account, and its upkeep, with jobs without an end. ``on_choice`` and ``on_upkeep`` are called before each.

    It has its upkeep once, and when ``next_at`` has come.
    """

    name: str
    most_at_once: int = 8
    room: int = 1000
    next_at: float = math.inf
    running: int = 0
    begun: int = 0
    on_choice: Callable[[], None] = lambda: None
    on_upkeep: Callable[[], Awaitable[None] | None] = lambda: None
    upkeeps: int = 0
    has_lanes: bool = True
    knows_lanes: bool = True
    capacity: Capacity = field(default_factory=lambda: Capacity(0))

    @property
    def upkeep(self) -> Any:
        return self

    @property
    def dispatch(self) -> Any:
        return self

    @property
    def needs_upkeep(self) -> bool:
        return self.upkeeps == 0 or self.next_at <= monotonic()

    async def run_upkeep(self) -> None:
        if (waits := self.on_upkeep()) is not None:
            await waits
        self.upkeeps += 1

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
    on_opening: Callable[[str], Awaitable[None] | None] = lambda name: None,
    source: Silence | None = None,
    intake: object = None,
) -> None:
    """Let a scheduler go round over these accounts, in their order, until the condition is true."""
    by_name = {one.name: one for one in accounts}

    async def open_account(name: str, lease: Lease) -> Any:
        if (waits := on_opening(name)) is not None:
            await waits
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


def test_a_job_that_ends_with_nothing_behind_it_wakes_nothing() -> None:
    lone, busy = Account("lone", most_at_once=1, has_lanes=False), Account("busy")
    run(schedule([lone, busy], 16, lambda: lone.begun > 0 and busy.begun > 100, end_soon))
    assert lone.begun == 1


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


def test_accounts_that_are_open_go_on_while_another_is_opened() -> None:
    first, second, over = Account("first"), Account("second"), asyncio.Event()

    def are_both_open() -> bool:
        if first.begun:
            over.set()
        return second.begun > 0

    opening: dict[str, Awaitable[None]] = {"second": wait_for(over)}
    run(schedule([first, second], 100, are_both_open, lambda *_: None, opening.get))


def test_accounts_go_on_while_another_is_looked_after_and_begins_nothing() -> None:
    slow, others, over = Account("slow"), [Account("a"), Account("b")], asyncio.Event()
    slow.on_upkeep = lambda: wait_for(over)
    chosen_early: list[bool] = []
    slow.on_choice = lambda: chosen_early.append(not over.is_set())

    def have_all_begun() -> bool:
        if all(one.begun > 20 for one in others):
            over.set()
        return slow.begun > 0

    run(schedule([slow, *others], 100, have_all_begun, end_soon))
    assert not any(chosen_early)


def test_an_account_that_needs_care_again_at_once_begins_jobs_in_between() -> None:
    """As where the database is so slow that the time of the next look has come when one is over."""
    account = Account("main", next_at=0.0)
    run(schedule([account], 16, lambda: account.begun > 20, end_soon))
    assert account.upkeeps > 1


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


def test_an_account_that_stays_locked_keeps_no_other_from_being_opened() -> None:
    locked, free = Account("locked"), Account("free")

    def open_free_alone(name: str) -> None:
        if name == "locked":
            raise RowsLocked("by an owner that is frozen")

    run(schedule([locked, free], 100, lambda: bool(free.begun), lambda *_: None, open_free_alone))


def test_an_account_that_rests_while_the_database_comes_back_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(owned_accounts, "REST_SECONDS", 0.1)
    failures: dict[str, list[Exception]] = {"a": [ValueError("a fault")], "b": [DatabaseAway("gone")]}

    def fail(name: str) -> None:
        if failures[name]:
            raise failures[name].pop()

    accounts = [Account(name, on_upkeep=partial(fail, name)) for name in "ab"]
    run(schedule(accounts, 16, lambda: all(one.begun for one in accounts), begin=lambda scheduler, account: None))


def test_a_database_that_only_upkeep_misses_is_said_to_be_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it can be read and not be written: the rounds in between end well."""
    monkeypatch.setattr(scheduler_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(outages, "DATABASE", outages.Outage("database_away", "database_back", "wait"))
    account, failures = Account("main"), [DatabaseAway("read-only")] * 5

    def fail() -> None:
        if failures:
            raise failures.pop()

    account.on_upkeep = fail
    with capture_logs() as lines:
        run(schedule([account], 16, lambda: account.begun > 0, end_soon))
    said = [(line["event"], line.get("where")) for line in lines if line["event"].startswith("database")]
    assert said == [("database_away", "account main"), ("database_back", None)]


def test_room_that_is_counted_anew_lets_messages_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # The slow round over all places stands still.
    modules = ("scheduling.scheduler", "scheduling.owned_accounts", "broker.inbox")
    Clock().drive(monkeypatch, *(f"worker68.{module}" for module in modules))
    account, source = Account("a", most_at_once=0, room=0), Silence()

    def count() -> None:
        if source.pops:
            account.room, account.next_at = 5, math.inf

    account.on_upkeep, account.next_at = count, 0.0
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
    opened, upkeeps = list[str](), list[str]()
    many = [Account(f"a{number}", most_at_once=0, next_at=0.0) for number in range(500)]
    for one in many:
        one.on_upkeep = partial(upkeeps.append, one.name)
    busy = Account("busy", most_at_once=0)
    upkeeps_when_it_came: list[int] = []

    class Intake:
        """The job comes when all accounts are open."""

        def take_in(self, arrivals: Sequence[object], now: object) -> list[Job]:
            if len(opened) <= len(many):
                return []
            upkeeps_when_it_came.append(len(upkeeps))
            busy.most_at_once = 1
            return [replace(job(1), account="busy") for _ in arrivals]

    upkeeps_before: list[int] = []
    run(
        schedule(
            [*many, busy],
            100,
            lambda: bool(upkeeps_before),
            lambda *_: upkeeps_before.append(len(upkeeps)),
            opened.append,
            source=Flood("busy"),
            intake=Intake(),
        )
    )
    assert upkeeps_before[0] - upkeeps_when_it_came[0] < len(many)


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
