"""The accounts that this worker owns: opened when their lease is gained, dropped when it is lost, at rest after a fault.

In: leases, as they are gained and lost; accounts for which something has changed, and times. Out: open accounts, and those of them
that are due, a bounded part at a time: what a round costs follows what changed and what is due, not how many accounts there are. A
fault of one account costs only this account: it rests for a moment, and is read from SQL again. Never: a job.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import structlog

from worker68.broker.inbox import Inbox
from worker68.broker.place import FRONT_DOOR, queue_of
from worker68.clock import monotonic
from worker68.errors import DatabaseAway, LeaseLost, RedisAway, RowsLocked
from worker68.execution.account import Account
from worker68.fleet.leases import Lease
from worker68.observe import outages

log = structlog.get_logger(__name__)

T = TypeVar("T")


#: Accounts of one round at most: a job that comes meanwhile waits for no more than these. Where something has changed, most need a
#: look at what is in memory; where the time has come, most need some statements of SQL.
MOST_CHANGED = 64
MOST_DUE = 8


class Agenda:
    """Which accounts are due: by name, and the next time of each (monotonic seconds). Never: a clock."""

    def __init__(self) -> None:
        self._marked: dict[str, None] = {}
        self._without_room: dict[str, None] = {}
        self._heap: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}  # an entry of the heap with another time counts no more

    def mark(self, account: str) -> None:
        """Something has changed for this account: it is due."""
        self._marked[account] = None

    def wait_for_room(self, account: str) -> None:
        """This account is due once the worker has room for another job."""
        self._without_room[account] = None

    @property
    def waits_for_room(self) -> bool:
        """Whether an account waits for room."""
        return bool(self._without_room)

    def plan(self, account: str, at: float) -> None:
        """This account is due then, whatever was planned before; with ``math.inf`` not before something changes."""
        if at == math.inf:
            self._times.pop(account, None)
        elif self._times.get(account) != at:
            self._times[account] = at
            heapq.heappush(self._heap, (at, account))

    def forget(self, account: str) -> None:
        """This account is never due any more."""
        for register in (self._marked, self._without_room, self._times):
            register.pop(account, None)

    def take(self, now: float, has_room: bool) -> list[str]:
        """Return accounts that are due, first those that have waited for room; they are due no more."""
        due: dict[str, None] = {}
        for register in (self._without_room, self._marked) if has_room else (self._marked,):
            for account in list(islice(register, MOST_CHANGED - len(due))):
                del register[account]
                due[account] = None
        most = len(due) + MOST_DUE
        while self._next_time() <= now and len(due) < most:
            account = heapq.heappop(self._heap)[1]
            del self._times[account]
            due[account] = None
        return list(due)

    def next_at(self, has_room: bool) -> float:
        """Return when the next account is due: 0 for now."""
        return 0.0 if self._marked or (has_room and self._without_room) else self._next_time()

    def _next_time(self) -> float:
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf


#: An account that failed rests so long.
REST_SECONDS = 1.0

_FAILED = outages.Outage(
    "account_failed", "account_works_again", "a fault in worker68; the other accounts go on", fault=True
)
_LOCKED = outages.Outage(
    "account_locked",
    "account_taken_over",
    "another session holds rows of the account: that of an owner which is frozen ends within seconds; the others go on",
)


class OwnedAccounts:
    """The open accounts by name, and their ``agenda``. On the loop.

    Accounts come and go within ``apply_changes`` alone, so one that a round looks at stays there to its end. ``in_background``:
    those that are being opened or have their upkeep, beside the rounds.
    """

    def __init__(self, open_account: Callable[[str, Lease], Awaitable[Account]], inbox: Inbox) -> None:
        self._open_account = open_account
        self._inbox = inbox
        self.agenda = Agenda()
        self._accounts: dict[str, Account] = {}
        self._front: Lease | None = None
        self._changes: deque[tuple[Callable[[Lease], None], Lease]] = deque()
        self._unopened: dict[str, Lease] = {}
        self._resting: dict[str, float] = {}
        self.in_background: set[str] = set()

    def __getitem__(self, name: str) -> Account:
        return self._accounts[name]

    def find(self, name: str) -> Account | None:
        """Return an account if it is open."""
        return self._accounts.get(name)

    def names(self) -> list[str]:
        return list(self._accounts)

    def all(self) -> list[Account]:
        return list(self._accounts.values())

    @property
    def owns_front(self) -> bool:
        """Whether this worker sorts the front door."""
        return self._front is not None

    def queues(self) -> list[str]:
        """Return the queues from which this worker takes jobs in: the front door's first, if it owns it. From any thread."""
        return [*([FRONT_DOOR] if self.owns_front else []), *map(queue_of, self.names())]

    def gained(self, lease: Lease) -> None:
        self._changes.append((self._note_gained, lease))

    def leaving(self, lease: Lease) -> None:
        """Take nothing in any more for this account: its lease is about to be given up."""
        self._changes.append((self._note_leaving, lease))

    def lost(self, lease: Lease) -> None:
        self._changes.append((self._note_lost, lease))

    def is_busy(self, lease: Lease) -> bool:
        """Whether something goes on under this lease: a change that a round has not seen yet, upkeep, or a job under way."""
        if any(changed is lease for _, changed in self._changes) or lease.account in self.in_background:
            return True
        account = self._accounts.get(lease.account or "")
        return account is not None and account.dispatch.in_flight > 0

    def apply_changes(self) -> None:
        """Drop what was lost, and take what was opened; what was gained is opened next."""
        while self._changes:
            note, lease = self._changes.popleft()
            note(lease)

    def unopened(self, most: int) -> list[str]:
        """Return the accounts that are to be opened next, whose leases were gained."""
        return list(islice((name for name in self._unopened if not self.rests(name)), most))

    async def open(self, name: str) -> None:
        """Open an account; it is there from the next ``apply_changes`` on. Raises ``DatabaseAway`` and ``RedisAway``.

        One that the database did not let open is tried again, after the others.
        """
        lease = self._unopened[name] = self._unopened.pop(name)
        try:
            account = await self._open_account(name, lease)
        except LeaseLost as lost:
            log.warning("account_not_opened", account=name, problem=str(lost))
            if self._unopened.get(name) is lease:
                del self._unopened[name]
        else:
            self._changes.append((partial(self._note_opened, account), lease))

    def due(self, has_room: bool) -> list[str]:
        """Return the accounts that are due now, those first that waited for room; they are due no more."""
        names = self.agenda.take(monotonic(), has_room)
        return [name for name in names if name in self._accounts and not self.rests(name)]

    def rests(self, name: str) -> bool:
        """Whether this account is left alone: after a fault, or during its upkeep. It is due again when that is over."""
        if name in self.in_background:
            return True
        if self._resting.get(name, 0.0) > monotonic():
            return True
        self._resting.pop(name, None)
        return False

    async def apart(self, name: str, work: Awaitable[T]) -> T | None:
        """Await work on one account; None where something of ours broke, which costs this account a rest and the others nothing.

        Raises ``DatabaseAway`` and ``RedisAway``, which concern all accounts.
        """
        try:
            done = await work
        except RowsLocked as locked:
            _LOCKED.fails(name, locked, account=name)
            self._rest(name)
            return None
        except (DatabaseAway, RedisAway):
            raise
        except Exception as error:  # noqa: BLE001 - logged, with its traceback
            _FAILED.fails(name, error, account=name)
            self._rest(name)
            return None
        _LOCKED.works(name)
        _FAILED.works(name)
        return done

    def distrust(self) -> None:
        """Something failed half-way, so what was written may not have come into memory: all accounts are read from SQL again."""
        for name, account in self._accounts.items():
            account.upkeep.distrust()
            # Not as changed: so some at a time have their upkeep, behind those that are. One that rests is so when it has rested.
            self.agenda.plan(name, self._resting.get(name, 0.0))

    def _note_gained(self, lease: Lease) -> None:
        if lease.account is None:
            self._front = lease
            self._inbox.gain(lease)
        else:
            self._unopened[lease.account] = lease

    def _note_leaving(self, lease: Lease) -> None:
        self._inbox.lose(lease)
        self._unopened.pop(lease.account or "", None)

    def _note_lost(self, lease: Lease) -> None:
        self._inbox.lose(lease)
        if lease.account is None:
            self._front = None
        else:
            self._unopened.pop(lease.account, None)
            self._accounts.pop(lease.account, None)
            self._resting.pop(lease.account, None)
            self.agenda.forget(lease.account)

    def _note_opened(self, account: Account, lease: Lease) -> None:
        if self._unopened.get(account.name) is not lease:
            return  # it was lost meanwhile, and its connection is closed, or it leaves
        del self._unopened[account.name]
        self._accounts[account.name] = account
        self._inbox.gain(lease, lambda: account.upkeep.room)
        self.agenda.plan(account.name, 0.0)

    def _rest(self, name: str) -> None:
        self._resting[name] = until = monotonic() + REST_SECONDS
        if name in self._accounts:
            self._accounts[name].upkeep.distrust()
        self.agenda.plan(name, until)


#: Each takes a thread of the pool, and a connection to the database. One whose rows are locked takes two seconds.
OPENED_AT_ONCE: Final = 3
UPKEEP_AT_ONCE: Final = 4


class Background:
    """Opens accounts and does their upkeep beside the rounds, so that what takes long for one account holds up no other.

    Each in a task of its own, a few at a time, and never two of one account at once; nothing begins for it meanwhile. On the loop.
    ``done`` is called with each account that was opened or had its upkeep, or could not have it. Its jobs may begin before
    the next upkeep, also where that is due by then: a slow database must not keep them from beginning.
    """

    def __init__(self, owned: OwnedAccounts, done: Callable[[str], None]) -> None:
        self._owned = owned
        self._done = done
        self._room = asyncio.Semaphore(UPKEEP_AT_ONCE)
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._had_upkeep: set[str] = set()  # whose jobs may begin before the next time
        self._away: DatabaseAway | RedisAway | None = None

    def begin(self, due: Sequence[str]) -> None:
        """Open accounts, and do the upkeep of those of ``due`` that need it. Raise what an earlier one met and concerns all."""
        away, self._away = self._away, None
        if away is not None:
            raise away
        for name in self._owned.unopened(OPENED_AT_ONCE - self._opening):
            self._opening += 1
            self._start(name, self._open(name))
        for name in due:
            if name in self._had_upkeep:
                self._had_upkeep.remove(name)
            elif self._owned[name].needs_upkeep:
                self._start(name, self._do_upkeep(name))

    async def end(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._away = None

    def _start(self, name: str, work: Awaitable[None]) -> None:
        self._owned.in_background.add(name)
        task = asyncio.ensure_future(self._run(name, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, name: str, work: Awaitable[None]) -> None:
        # Under its own name: the round that began it ends well before.
        where = f"account {name}"
        try:
            await work
        except (DatabaseAway, RedisAway) as away:
            outages.of(away).fails(where, away)
            self._away = away
        else:
            for outage in (outages.DATABASE, outages.REDIS):
                outage.works(where)
        finally:
            self._owned.in_background.discard(name)
            self._done(name)

    async def _open(self, name: str) -> None:
        try:
            await self._owned.apart(name, self._owned.open(name))
        finally:
            self._opening -= 1

    async def _do_upkeep(self, name: str) -> None:
        async with self._room:
            if (account := self._owned.find(name)) is not None:  # it may be lost meanwhile
                await self._owned.apart(name, account.run_upkeep())
                if account.upkeep.knows_lanes:  # else nothing may begin yet
                    self._had_upkeep.add(name)
