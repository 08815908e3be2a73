"""The scheduler: the service that takes jobs in from Redis, lets begin what is ready, and has the accounts opened and kept up.

In: a doorbell that rings, leases, and what other parts say has changed. Out: rounds, each of which has accounts opened and kept
up, begins jobs of the others that are due, and takes new jobs in. An account is looked at when something has changed for it, or
when its next time has come. Nothing is taken in while the database is away. Never: a frame; a wait of the loop for SQL or Redis.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from worker68.broker.inbox import Inbox
from worker68.clock import monotonic
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.account import Account
from worker68.execution.slots import Choice, Ready
from worker68.execution.under_way import Capacity
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.loop import Loop, Stopping, Wakeup
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.scheduling.owned_accounts import Background, OwnedAccounts

#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0

_FAILED = outages.Outage(
    "scheduler_failed", "scheduler_works_again", "a fault in worker68: keep this line, report it", fault=True
)


class Scheduler:
    """Goes round until the worker stops. On the loop. ``check_database`` raises where its tables are not those of this code."""

    def __init__(
        self,
        owned: OwnedAccounts,
        inbox: Inbox,
        starter: Starter,
        check_database: Callable[[], None],
        stopping: Stopping,
        loop: Loop,
    ) -> None:
        self._owned = owned
        self._inbox = inbox
        self._starter = starter
        self._background = Background(owned, self._note_upkeep)
        self._check_database = check_database
        self._stopping = stopping
        self._wakeup = Wakeup(loop)
        self._database_seen = False
        self.seconds = histogram("worker68_scheduler_seconds", "One round: let jobs begin, take new ones in.")
        self.went_round_at = monotonic()  # the end of a round that ended well

    async def run(self) -> None:
        """Go round until ``stop``."""
        while not self._stopping.is_set():
            try:
                began = monotonic()
                next_at = await self._go_round()
                self.went_round_at = monotonic()
                self.seconds.observe(self.went_round_at - began)
                with self._inbox.watched(self._wakeup.set):
                    await self._wakeup.wait(next_at - monotonic())
            except (DatabaseAway, RedisAway) as away:
                outages.of(away).fails("scheduler", away)
                self._database_seen = False
                await self._pause()
            except Exception as error:  # noqa: BLE001 - a worker whose scheduler has ended is alive and takes nothing in
                _FAILED.fails("scheduler", error)
                await self._pause()
        await self._background.end()
        await asyncio.to_thread(self._inbox.close)

    def stop(self) -> None:
        """Take nothing in and begin nothing any more."""
        self._stopping.set()
        self._wakeup.set()

    async def _go_round(self) -> float:
        """Have accounts opened and kept up, begin jobs and take new ones in; return when to do so again at the latest."""
        self._owned.apply_changes()
        if not self._database_seen:
            await asyncio.to_thread(self._check_database)
            self._database_seen = True
        due = self._owned.due(self._starter.has_room)
        self._background.begin(due)
        await self._starter.start(due)  # but those that have their upkeep now
        if jobs := await self._inbox.take_in():
            await self._starter.add(jobs)
        for outage in (outages.DATABASE, outages.REDIS, _FAILED):
            outage.works("scheduler")
        return min(self._owned.agenda.next_at(self._starter.has_room), self._inbox.next_look_at)

    async def _pause(self) -> None:
        await self._background.end()  # what is under way would say that memory is to be trusted
        self._owned.distrust()
        await self._stopping.rest(PAUSE_SECONDS)

    # What other parts say has changed. On the loop

    def wake(self, account: str) -> None:
        """Something of this account may be ready now."""
        self._owned.agenda.mark(account)
        self._wakeup.set()

    def job_ended(self, name: str) -> None:
        """A job of the account is not under way any more: the next one may be ready, and there may be room for another."""
        account = self._owned.find(name)
        has_lanes = account is not None and account.dispatch.has_lanes
        if self._inbox.note_room(name) or has_lanes or self._owned.agenda.waits_for_room:
            self.wake(name)

    def _note_upkeep(self, name: str) -> None:
        self._inbox.note_room(name)  # it may have been counted anew
        self.wake(name)

    def gained(self, lease: Lease) -> None:
        self._owned.gained(lease)
        self._wakeup.set()

    def leaving(self, lease: Lease) -> None:
        """Nothing is taken in and begun any more under this lease."""
        self._owned.leaving(lease)
        self._wakeup.set()

    def lost(self, lease: Lease) -> None:
        self._owned.lost(lease)
        self._wakeup.set()


class Starter:
    """Begins ready jobs of the owned accounts until the worker stops, as far as CONCURRENCY leaves room. On the loop.

    What there is no room for is first once there is. Which job of an account comes first is decided by its dispatch.
    ``begin`` starts a job. ``defer`` is called with new jobs that wait.
    """

    def __init__(
        self,
        owned: OwnedAccounts,
        capacity: Capacity,
        begin: Callable[[Account, Ready], None],
        defer: Callable[[Sequence[Job]], None],
        stopping: Stopping,
    ) -> None:
        self._owned = owned
        self._capacity = capacity
        self._begin = begin
        self._defer = defer
        self._stopping = stopping

    @property
    def has_room(self) -> bool:
        """Whether another job may begin."""
        return self._capacity.free > 0

    async def add(self, jobs: Sequence[Job]) -> None:
        """Let new jobs enter their lanes, and begin where they are ready; but those that wait for room come before them."""
        by_account: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_account[job.account].append(job)
        for name, own in by_account.items():
            self._owned[name].upkeep.take(own)
        begun: set[int] = set()
        if self._owned.agenda.waits_for_room:
            for name in by_account:
                self._owned.agenda.mark(name)
        else:
            begun = await self.start(list(by_account))
        self._defer([job for job in jobs if job.seq not in begun])

    async def start(self, names: Sequence[str]) -> set[int]:
        """Let begin what is ready of these accounts, all at the same time; return the numbers of these jobs."""
        if self._stopping.is_set():
            return set()
        accounts = [self._owned[name] for name in names if not self._owned.rests(name)]
        ways = [self._owned.apart(account.name, self._start(account)) for account in accounts]
        choices = await asyncio.gather(*ways, return_exceptions=True)
        for problem in choices:
            if isinstance(problem, BaseException):
                raise problem
        begun: set[int] = set()
        short: dict[str, bool] = {}  # those that wait for room, and whether any of their jobs has begun
        for account, choice in zip(accounts, choices, strict=True):
            if isinstance(choice, Choice):
                begun.update(ready.job.seq for ready in choice.ready)
                if choice.short:
                    short[account.name] = bool(choice.ready)
                self._conclude(account, choice)
        for name in sorted(short, key=short.__getitem__):  # those that took some come after those that have none
            self._owned.agenda.wait_for_room(name)
        return begun

    async def _start(self, account: Account) -> Choice:
        choice = await account.choose()
        for ready in choice.ready:
            self._begin(account, ready)
        return choice

    def _conclude(self, account: Account, choice: Choice) -> None:
        """Have ended what was overdue, and plan when to look at the account again."""
        if choice.overdue:
            account.upkeep.end_soon(choice.overdue)
        times = [account.upkeep.next_at, *([] if choice.look_again_at is None else [choice.look_again_at])]
        self._owned.agenda.plan(account.name, min(times))
