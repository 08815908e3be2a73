"""The pump: the service of the loop that takes jobs in from Redis and lets begin what is ready.

In: the places and accounts that this worker owns. Out: rows in SQL, acknowledgements to Redis, jobs that begin on the loop.
An account is looked at when something has changed for it, or when its next time has come. Nothing is popped while the database is
away; a popped batch that could not be written goes back in its order. Never: a frame; a wait of the loop for SQL or Redis.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from worker68.broker.agenda import Agenda
from worker68.broker.inbox import Inbox
from worker68.broker.source import Source
from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, LeaseLost, RedisAway, RowsLocked
from worker68.execution import recovery
from worker68.execution.account import Account
from worker68.execution.intake import Intake
from worker68.execution.slots import Choice, Ready
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.loop import Loop, Stopping, Wakeup
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.schema import check_version

log = structlog.get_logger(__name__)

#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0

#: Desks are opened for so long in one round, then the accounts that are open go on: one that is locked takes two seconds.
OPENING_SECONDS = 0.5

#: Accounts that ask Redis for their slots at the same time.
AT_ONCE = 16

_FAILED = outages.Outage(
    "pump_failed", "pump_works_again", "a fault in worker68: keep this line, report it", fault=True
)
_ACCOUNT_FAILED = outages.Outage(
    "account_failed", "account_works_again", "a fault in worker68; the other accounts go on", fault=True
)
_LOCKED = outages.Outage(
    "account_locked",
    "account_taken_over",
    "another session holds rows of the account: that of an owner which is frozen ends within seconds; the others go on",
)


class Pump:
    """Moves jobs. On the loop."""

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        source: Source,
        begin: Callable[[Account, Ready], None],
        open_account: Callable[[str, Lease], Awaitable[Account]],
        announce: Callable[[], None],
        defer: Callable[[Sequence[Job]], None],
        concurrency: int,
        loop: Loop,
    ) -> None:
        self._engine = engine
        self._source = source
        self._inbox = Inbox(source, intake, lambda account: self._desks[account].upkeep.room, announce)
        self._rung = True
        self._begin = begin
        self._open_account = open_account
        self._announce = announce
        self._defer = defer
        self._concurrency = concurrency
        self._loop = loop
        self._wakeup = Wakeup(loop)
        self._desks: dict[str, Account] = {}
        self._front: Lease | None = None
        self._ended: deque[str] = deque()
        self._changes: deque[tuple[Lease, bool]] = deque()
        self._unopened: dict[str, Lease] = {}
        # Accounts of which something of ours broke, and until when each is left alone.
        self._failing: dict[str, float] = {}
        self._agenda = Agenda()
        self._busy: dict[str, Account] = {}  # those of which jobs are under way
        self._database_seen = False
        self.seconds = histogram("worker68_pump_seconds", "One round of taking in and handing on.")
        self.turned_at = monotonic()  # the end of one that ended well
        self._stopping = Stopping(loop)

    async def run(self) -> None:
        """Take jobs in and let them begin until ``stop``."""
        while not self._stopping.is_set():
            try:
                began = monotonic()
                look_again_at = await self._turn()
                self.turned_at = monotonic()
                self.seconds.observe(self.turned_at - began)
                await self._wait(look_again_at)
            except (DatabaseAway, RedisAway) as away:
                self._note_away(away)
                await self._pause()
            except Exception as error:  # noqa: BLE001 - a worker whose pump has ended is alive and takes nothing in
                _FAILED.fails("pump", error)
                await self._pause()
        await asyncio.to_thread(self._source.close)

    def stop(self) -> None:
        """Take nothing in and begin nothing any more."""
        self._stopping.set()
        self._wakeup.set()

    def wake(self, account: str | None = None) -> None:
        """Something may be ready now, of this account or of any."""
        for name in self._desks if account is None else [account]:
            self._agenda.mark(name)
        self._wakeup.set()

    def job_ended(self, account: str) -> None:
        """A job of the account is not under way any more: the next one may be ready, and there may be room for another."""
        self._ended.append(account)
        self.wake(account)

    def gained(self, lease: Lease) -> None:
        self._changes.append((lease, True))
        self._wakeup.set()

    def lost(self, lease: Lease) -> None:
        self._changes.append((lease, False))
        self._wakeup.set()

    def owned_accounts(self) -> list[str]:
        return list(self._desks)

    def accounts(self) -> list[Account]:
        return list(self._desks.values())

    @property
    def owns_front(self) -> bool:
        return self._front is not None

    async def _turn(self) -> float:
        """Tend, take in and let begin once; return when to do so again at the latest (monotonic seconds)."""
        self._apply_changes()
        if not self._database_seen:
            await asyncio.to_thread(check_version, self._engine)
            self._database_seen = True
        await self._open_accounts()
        accounts = [name for name in self._agenda.take(monotonic(), self._room() > 0) if name in self._desks]
        await self._tend(accounts)  # first, because it counts how much room a new desk has
        await self._begin_ready(accounts)
        await self._take_in()
        for outage in (outages.DATABASE, outages.REDIS, _FAILED):
            outage.works("pump")
        return min(self._agenda.next_at, self._inbox.next_look_at)

    async def _pause(self) -> None:
        """Something failed half-way, so what was written may not have come into memory, nor what was popped."""
        for account, desk in self._desks.items():
            desk.upkeep.distrust()
            self._agenda.mark(account)
        await self._stopping.rest(PAUSE_SECONDS)

    async def _wait(self, until: float) -> None:
        """Wait until then, or until something rings or changes."""
        # Not watched while it is read: it would ring all the time.
        self._loop.add_reader(self._source.fileno(), self._ring)
        try:
            await self._wakeup.wait(until - monotonic())
        finally:
            self._loop.remove_reader(self._source.fileno())

    def _ring(self) -> None:
        self._rung = True
        self._loop.remove_reader(self._source.fileno())
        self._wakeup.set()

    def _note_away(self, away: DatabaseAway | RedisAway) -> None:
        """Look at the database's version before anything else when what is away may be back."""
        outage = outages.DATABASE if isinstance(away, DatabaseAway) else outages.REDIS
        outage.fails("pump", away)
        self._database_seen = False

    # Ownership

    def _apply_changes(self) -> None:
        """Take note of leases. Between two turns alone: so an account that a turn looks at stays there to its end."""
        while self._changes:
            lease, gained = self._changes.popleft()
            if not gained:
                self._inbox.lose(lease)
            if lease.account is None:
                self._front = lease if gained else None
                if gained:
                    self._inbox.gain(lease)
            elif gained:
                self._unopened[lease.account] = lease
            else:
                self._unopened.pop(lease.account, None)
                self._desks.pop(lease.account, None)
                self._busy.pop(lease.account, None)
                self._agenda.forget(lease.account)

    async def _open_accounts(self) -> None:
        """Open desks of accounts gained, for a moment; one that the database did not let open is tried again, after the others."""
        began = monotonic()
        for account, lease in list(self._unopened.items()):
            if monotonic() - began >= OPENING_SECONDS:
                self._wakeup.set()  # the rest in the next round
                break
            if not self._may_try(account):
                continue
            self._unopened[account] = self._unopened.pop(account)
            with self._apart(account):
                try:
                    self._desks[account] = await self._open_account(account, lease)
                    self._inbox.gain(lease)
                    self._agenda.mark(account)
                except LeaseLost as lost:
                    log.warning("account_not_opened", account=account, problem=str(lost))
                del self._unopened[account]

    async def _tend(self, accounts: Sequence[str]) -> None:
        for account in accounts:
            if self._may_try(account):
                with self._apart(account):
                    if await self._desks[account].tend():
                        self._announce()
                    self._inbox.note_room(account)  # it may have been counted anew

    def _may_try(self, account: str) -> bool:
        until = self._failing.get(account)
        if until is None or until > monotonic():
            return until is None
        del self._failing[account]
        return True

    @contextmanager
    def _apart(self, account: str) -> Iterator[None]:
        """Let what breaks of ours on one account be that account's alone: it rests for a moment, and the others go on."""
        try:
            yield
            _LOCKED.works(account)
            _ACCOUNT_FAILED.works(account)
        except RowsLocked as locked:
            _LOCKED.fails(account, locked, account=account)
            self._rest(account)
        except (DatabaseAway, RedisAway):
            raise
        except Exception as error:  # noqa: BLE001 - logged, with its traceback
            _ACCOUNT_FAILED.fails(account, error, account=account)
            self._rest(account)

    def _rest(self, account: str) -> None:
        self._failing[account] = until = monotonic() + PAUSE_SECONDS
        if account in self._desks:
            self._desks[account].upkeep.distrust()
        self._agenda.plan(account, until)

    # Intake

    async def _take_in(self) -> None:
        while self._ended:
            self._inbox.note_room(self._ended.popleft())
        if not self._rung and monotonic() < self._inbox.next_look_at:
            return
        self._rung = False
        if jobs := await asyncio.to_thread(self._inbox.take_in):
            await self._hand_over(jobs)

    async def _hand_over(self, jobs: Sequence[Job]) -> None:
        """Let new jobs enter their lanes."""
        by_account: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_account[job.account].append(job)
        for account, own in by_account.items():
            self._desks[account].upkeep.take(own)
        if self._agenda.waits_for_room:  # those that wait come first, in the next round
            for account in by_account:
                self._agenda.mark(account)
            begun: set[int] = set()
        else:
            begun = await self._begin_ready(list(by_account))
        self._defer([job for job in jobs if job.seq not in begun])

    # Beginning

    def _room(self) -> int:
        """How many more jobs may be under way in this worker."""
        self._busy = {name: desk for name, desk in self._busy.items() if desk.dispatch.in_flight}
        return self._concurrency - sum(desk.dispatch.occupied for desk in self._busy.values())

    async def _begin_ready(self, accounts: Sequence[str]) -> set[int]:
        """Let begin what is ready of these accounts; return the numbers of these jobs."""
        begun: set[int] = set()
        short: dict[str, bool] = {}  # accounts that were offered no more room than they took, and whether they took any
        left = deque(self._desks[account] for account in accounts)
        while left and not self._stopping.is_set():
            room = self._room()
            desks = [left.popleft()]
            # As many at once as cannot take more than there is room, or one alone: each asks Redis for slots.
            while (
                left and len(desks) < AT_ONCE and sum(desk.settings.max_in_flight for desk in [*desks, left[0]]) <= room
            ):
                desks.append(left.popleft())
            choices = await asyncio.gather(*(self._choose(desk, room) for desk in desks), return_exceptions=True)
            chosen = [(desk, choice) for desk, choice in zip(desks, choices, strict=True) if isinstance(choice, Choice)]
            for desk, choice in chosen:  # all of them, before anything else may fail
                for ready in choice.ready:
                    begun.add(ready.job.seq)
                    self._busy[desk.name] = desk
                    self._begin(desk, ready)
            for problem in choices:
                if isinstance(problem, BaseException):
                    raise problem
            # By the room that was offered: what has come free since then is offered to them in the next round.
            short |= {desk.name: bool(choice.ready) for desk, choice in chosen if len(choice.ready) >= room}
            for desk, choice in chosen:
                await self._conclude_choice(desk, choice)
        for account in sorted(short, key=short.__getitem__):  # those that took some come after those that have none
            self._agenda.wait_for_room(account)
        return begun

    async def _conclude_choice(self, desk: Account, choice: Choice) -> None:
        """End what was overdue, and plan when to look at the account again."""
        if choice.overdue:
            await asyncio.to_thread(recovery.expire, self._engine, choice.overdue, utc_now())
            self._announce()
            self._agenda.mark(
                desk.name
            )  # the next of their lanes may not be in memory yet, and thousands may be as late
        times = [desk.upkeep.tend_at, *([] if choice.look_again_at is None else [choice.look_again_at])]
        self._agenda.plan(desk.name, max(min(times), self._failing.get(desk.name, 0.0)))

    async def _choose(self, desk: Account, room: int) -> Choice:
        if self._may_try(desk.name):
            with self._apart(desk.name):
                return await desk.choose(room)
        return Choice([], [], self._failing[desk.name])
