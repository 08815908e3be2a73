"""The starter: ready jobs of the owned accounts begin, as far as CONCURRENCY leaves room.

In: accounts that are due, and new jobs. Out: jobs that begin on the loop; when to look at each account again. What there is no room
for is first once there is. Never: which job of an account comes first; that is its dispatch.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from worker68.execution.account import Account
from worker68.execution.slots import Choice, Ready
from worker68.jobs.job import Job
from worker68.loop import Stopping
from worker68.scheduling.owned_accounts import OwnedAccounts

#: Accounts that ask Redis for their slots at the same time.
AT_ONCE = 16


class Starter:
    """Begins jobs until the worker stops. On the loop; used by one coroutine.

    ``begin`` starts a job. ``defer`` is called with new jobs that wait. ``concurrency``: jobs under way in this worker at most.
    """

    def __init__(
        self,
        owned: OwnedAccounts,
        begin: Callable[[Account, Ready], None],
        defer: Callable[[Sequence[Job]], None],
        concurrency: int,
        stopping: Stopping,
    ) -> None:
        self._owned = owned
        self._begin = begin
        self._defer = defer
        self._concurrency = concurrency
        self._stopping = stopping
        self._busy: dict[str, Account] = {}  # accounts of which jobs are under way

    @property
    def room(self) -> int:
        """How many more jobs may be under way in this worker."""
        self._busy = {name: account for name, account in self._busy.items() if account.dispatch.in_flight}
        return self._concurrency - sum(account.dispatch.occupied for account in self._busy.values())

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
        """Let begin what is ready of these accounts; return the numbers of these jobs."""
        apart, begun = self._owned.apart, set[int]()
        short: dict[str, bool] = {}  # accounts that were offered no more room than they took, and whether they took any
        left = deque(self._owned[name] for name in names if not self._owned.rests(name))
        while left and not self._stopping.is_set():
            room = self.room
            group = self._next_group(left, room)
            ways = [apart(account.name, account.choose(room)) for account in group]
            choices = await asyncio.gather(*ways, return_exceptions=True)
            chosen = [(account, one) for account, one in zip(group, choices, strict=True) if isinstance(one, Choice)]
            for account, choice in chosen:  # all of them, before anything else may fail
                for ready in choice.ready:
                    begun.add(ready.job.seq)
                    self._busy[account.name] = account
                    self._begin(account, ready)
            for problem in choices:
                if isinstance(problem, BaseException):
                    raise problem
            # By the room that was offered: what has come free since then is offered to them in the next round.
            short |= {account.name: bool(choice.ready) for account, choice in chosen if len(choice.ready) >= room}
            for account, choice in chosen:
                await apart(account.name, self._conclude(account, choice))
        for name in sorted(short, key=short.__getitem__):  # those that took some come after those that have none
            self._owned.agenda.wait_for_room(name)
        return begun

    def _next_group(self, left: deque[Account], room: int) -> list[Account]:
        """Take as many accounts as cannot take more jobs than there is room, or one alone: each asks Redis for slots."""
        group = [left.popleft()]
        while left and len(group) < AT_ONCE and sum(one.settings.max_in_flight for one in [*group, left[0]]) <= room:
            group.append(left.popleft())
        return group

    async def _conclude(self, account: Account, choice: Choice) -> None:
        """End what was overdue, and plan when to look at the account again."""
        agenda, name = self._owned.agenda, account.name
        if choice.overdue:
            await account.upkeep.end_overdue(choice.overdue)
            agenda.mark(name)  # the next of their lanes may not be in memory yet, and thousands may be as late
        times = [account.upkeep.tend_at, *([] if choice.look_again_at is None else [choice.look_again_at])]
        agenda.plan(name, min(times))
