"""The starter: ready jobs of the owned accounts begin, as far as CONCURRENCY leaves room.

In: accounts that are due, and new jobs. Out: jobs that begin on the loop; when to look at each account again. What there is no room
for is first once there is. Never: which job of an account comes first; that is its dispatch.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from worker68.execution.account import Account
from worker68.execution.capacity import Capacity
from worker68.execution.slots import Choice, Ready
from worker68.jobs.job import Job
from worker68.loop import Stopping
from worker68.scheduling.owned_accounts import OwnedAccounts


class Starter:
    """Begins jobs until the worker stops. On the loop; used by one coroutine.

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
        times = [account.upkeep.tend_at, *([] if choice.look_again_at is None else [choice.look_again_at])]
        self._owned.agenda.plan(account.name, min(times))
