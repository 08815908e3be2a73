"""The upkeep of an account: what is due there from time to time, so that memory and SQL agree.

In: new jobs, and the passing of time. Out: jobs in their lanes; ended ones where their time was over; the reasons why others wait,
in their rows. On the loop; SQL is asked in the pool. Never: a frame, a message from Redis.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Callable, Sequence

from worker68.clock import monotonic, utc_now
from worker68.execution import recovery
from worker68.execution.dispatch import Dispatch
from worker68.execution.intake import PARKED_FOR
from worker68.execution.lanes import Head, kind_of
from worker68.execution.reasons import RowReasons
from worker68.execution.shared import Shared
from worker68.execution.slots import Ready
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.jobs.retry import bounded_due_at
from worker68.jobs.states import State
from worker68.settings import AccountSettings
from worker68.store import waiting
from worker68.store.engine import Engine
from worker68.store.lanes import LaneHead, UnknownHead, find_lanes

#: What memory may have missed is looked up in SQL this often, a part of the lanes at each look.
SWEEP_SECONDS = 30.0
#: Lanes of which SQL says the first jobs in one step, and lanes that are explained in one: some milliseconds of the loop.
LANES_AT_ONCE = 1000
LANES_EXPLAINED = 500
#: Waiting jobs whose time is over end at most this late; a reason to wait that lasts from one look to the next is written down.
LOOK_SECONDS = 2.0


class Upkeep:
    """One account's, used by one coroutine. ``why_not``: why no frame can leave, which needs the client's login or not.

    Everything that is awaited here may raise ``DatabaseAway``: then ``distrust`` it.
    """

    def __init__(
        self,
        settings: AccountSettings,
        shared: Shared,
        dispatch: Dispatch,
        why_not: Callable[[bool], str | None],
        lease: Lease,
    ) -> None:
        self._lease = lease
        self._shared = shared
        self._dispatch = dispatch
        self._count = UnfinishedCount(settings, dispatch)
        self._times = DueTimes(dispatch)
        self._explanation = Explanation(settings.name, dispatch, why_not)
        self._sweep_at = 0.0
        self._look_at = 0.0
        self._found_to: str | None = ""  # while lanes are looked up: the last one so far
        self.knows_lanes = False
        """Whether memory knows of all lanes, as SQL had them after the last failure."""

    @property
    def _account(self) -> str:
        return self._lease.account or ""

    @property
    def room(self) -> int:
        """How many more jobs may wait in the database."""
        return self._count.room

    @property
    def unfinished(self) -> int:
        """How many jobs wait or are under way, at most."""
        return self._count.unfinished

    def distrust(self) -> None:
        """Memory may have missed something that stands in SQL: nothing starts before that was looked at."""
        self._sweep_at = 0.0
        self.knows_lanes, self._found_to = False, ""
        self._times.overdue.clear()

    def take(self, jobs: Sequence[Job]) -> None:
        """Let jobs that were just taken in enter their lanes, now or when they are due."""
        self._put_off_sweep()
        self._count.taken_in += len(jobs)
        self._dispatch.add(job for job in jobs if job.state is State.READY)
        self._times.note_new(jobs)

    def note_unfinished(self) -> None:
        """SQL has had unfinished jobs of this account for a while: memory may have missed them."""
        self._count.lasts = True

    def note_chosen(self, chosen: Sequence[Ready]) -> None:
        """These begin, and may come back."""
        self._times.note_begun([ready.job for ready in chosen])

    async def run(self) -> None:
        """Do what is due."""
        now, engine = utc_now(), self._shared.engine
        await self._end_overdue(now)
        self._put_off_sweep()
        if monotonic() >= self._sweep_at:
            await self._begin_sweep(now)
        looks = monotonic() >= self._look_at
        if self._found_to is not None and (looks or not self.knows_lanes):
            await self._find_lanes(now)
        if self._times.is_due(now):
            self._times.due = None  # what comes meanwhile is counted again
            released, due = await asyncio.to_thread(_release_due, engine, self._account, now)
            self._dispatch.add(released)
            self._times.note(due=due)
        if looks:
            self._look_at = monotonic() + LOOK_SECONDS
            if self.room == 0:
                await self._count.ask(engine)  # what was cancelled or has expired makes room without an event
            await self._explanation.write(engine)
            await self._expire(now)

    @property
    def _sweeps(self) -> bool:
        """Whether a sweep may find something. Of jobs that wait as far as memory knows, others may have ended some."""
        return self._count.lasts or not self.knows_lanes or self.unfinished > self._dispatch.in_flight

    def _put_off_sweep(self) -> None:
        if not self._sweeps:
            self._sweep_at = monotonic() + SWEEP_SECONDS

    @property
    def next_at(self) -> float:
        """When something is due here, as far as is known (monotonic seconds; ``math.inf``: never)."""
        if not self.knows_lanes or self._times.overdue:
            return 0.0
        times = [self._sweep_at if self._sweeps else math.inf]
        if self._found_to is not None or self._times.expires or self._dispatch.has_lanes or self.room == 0:
            times.append(self._look_at)
        if self._times.due is not None:
            times.append(monotonic() + (self._times.due - utc_now()).total_seconds())
        return min(times)

    def end_soon(self, jobs: Sequence[Job]) -> None:
        """End jobs whose time was over when their turn came, with the next upkeep."""
        self._times.overdue += jobs

    async def _end_overdue(self, now: dt.datetime) -> None:
        overdue, self._times.overdue = self._times.overdue, []
        if overdue:
            await asyncio.to_thread(recovery.expire, self._shared.engine, overdue, now)
            self._shared.announce()

    async def _begin_sweep(self, now: dt.datetime) -> None:
        self._times.due = self._times.expires = None
        revived, more, due, expires = await asyncio.to_thread(self._resolve, now)
        self._shared.announce()  # what was resolved may have ended
        self.take(revived)
        self._times.note(due=due, expires=expires)
        await self._count.ask(self._shared.engine)
        self._dispatch.unload()
        self._found_to = self._found_to or ""
        # One sweep ends a part of the parked jobs alone: where there may be more, the next one follows soon.
        self._sweep_at = monotonic() + (LOOK_SECONDS if more else SWEEP_SECONDS)

    def _resolve(self, now: dt.datetime) -> tuple[list[Job], bool, dt.datetime | None, dt.datetime | None]:
        """Resolve in SQL what no event would. In the pool.

        Return jobs that may start now, whether more are to end, and what is due next.
        """
        engine = self._shared.engine
        recovery.resolve_abandoned(engine, self._account, self._lease.fence, self._dispatch.is_under_way, now)
        waiting.release_unknown(engine, self._account, now)
        revived = recovery.revive_parked(engine, self._shared.intake, self._account, now)
        more = recovery.end_parked(engine, self._account, now)
        return revived, more, waiting.next_due(engine, self._account), waiting.next_expiry(engine, self._account)

    async def _find_lanes(self, now: dt.datetime) -> None:
        """Let memory know of further lanes, and of those that it knows what SQL has as their first job."""
        assert self._found_to is not None
        engine, after = self._shared.engine, self._found_to
        self._dispatch.begin_look_up()
        heads, self._found_to = await asyncio.to_thread(find_lanes, engine, self._account, after, LANES_AT_ONCE)
        self._dispatch.learn(head if isinstance(head, UnknownHead) else _learned(head, now) for head in heads)
        for head in heads:
            if isinstance(head, UnknownHead) and self._times.is_over_for(head) and self._lease.held:
                ended = await asyncio.to_thread(recovery.end_unknown, engine, self._account, head.lane, now)
                self._dispatch.forget(ended)
                self._shared.announce()
        if self._found_to is None:
            self.knows_lanes = True

    async def _expire(self, now: dt.datetime) -> None:
        """End waiting jobs whose time is over."""
        if not self._times.has_expired(now):
            return
        self._times.expires = None  # what comes meanwhile is counted again
        ended, expires = await asyncio.to_thread(_expire_overdue, self._shared.engine, self._account, now)
        self._times.note(expires=expires)
        if ended:
            self._shared.announce()


class UnfinishedCount:
    """How many jobs of an account wait or are under way, at most: as SQL counted them last, and what came and went since.

    Of those that were under way when it counted, SQL may have seen the end already: so their end opens no room before it counts
    again.
    """

    def __init__(self, settings: AccountSettings, dispatch: Dispatch) -> None:
        self._settings = settings
        self._dispatch = dispatch
        self.taken_in = 0
        """Those that SQL counted last, and those taken in since."""
        self.lasts = False
        """Whether SQL has had some of them for a while, and was not asked since."""
        self._under_way: frozenset[int] = frozenset()  # when SQL counted last
        self._finished = 0  # by then
        self._counted = False

    @property
    def unfinished(self) -> int:
        ended = self._dispatch.finished - self._finished
        seen = sum(not self._dispatch.is_under_way(seq) for seq in self._under_way)
        return self.taken_in - max(0, ended - seen)

    @property
    def room(self) -> int:
        """How many more may wait: none before SQL has counted."""
        return self._counted * max(0, self._settings.max_waiting - self.unfinished)

    async def ask(self, engine: Engine) -> None:
        """Count anew. Raises ``DatabaseAway``."""
        self._under_way = self._dispatch.under_way()  # before the number: what ends in between is in both
        self._finished = self._dispatch.finished
        self.lasts = False
        before = self.taken_in
        counted = await asyncio.to_thread(waiting.count_waiting, engine, self._settings.name)
        self.taken_in += counted - before  # what came meanwhile may be in both, until it counts again
        self._counted = True


class DueTimes:
    """When the next deferred job of an account is due, and when the next waiting one expires; None: none does.

    ``overdue``: jobs whose time was over when their turn came, and which are to be ended.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self.due: dt.datetime | None = None
        self.expires: dt.datetime | None = None
        self.overdue: list[Job] = []
        self._expiring: dict[int, dt.datetime] = {}  # jobs that had their turn, and may come back
        self._unknown_until: dict[int, float] = {}  # jobs of unknown tasks that were the first of their lanes

    def is_due(self, now: dt.datetime) -> bool:
        return self.due is not None and self.due <= now

    def has_expired(self, now: dt.datetime) -> bool:
        """Whether a waiting job has, also one that has come back from its turn."""
        back = [seq for seq in self._expiring if not self._dispatch.is_under_way(seq)]
        self.note(expires=_earliest(*map(self._expiring.pop, back)))
        return self.expires is not None and self.expires <= now

    def note(self, *, due: dt.datetime | None = None, expires: dt.datetime | None = None) -> None:
        """These times come, too."""
        self.due, self.expires = _earliest(self.due, due), _earliest(self.expires, expires)

    def note_new(self, jobs: Sequence[Job]) -> None:
        self.note(due=_earliest(*(job.due_at for job in jobs)), expires=_earliest(*(job.expires_at for job in jobs)))

    def note_begun(self, jobs: Sequence[Job]) -> None:
        self._expiring |= {job.seq: job.expires_at for job in jobs if job.expires_at is not None}

    def is_over_for(self, first: UnknownHead) -> bool:
        """Whether a lane has waited for so long, under this owner, that no worker that knows the task is to be expected."""
        until = self._unknown_until.setdefault(first.seq, monotonic() + PARKED_FOR.total_seconds())
        if until > monotonic():
            return False
        del self._unknown_until[first.seq]
        return True


class Explanation:
    """Writes into their rows why the heads of an account's lanes wait, a part of the lanes at each look."""

    def __init__(self, account: str, dispatch: Dispatch, why_not: Callable[[bool], str | None]) -> None:
        self._account = account
        self._dispatch = dispatch
        self._why_not = why_not
        self._rest: list[str] = []  # the lanes that this round has not come to yet
        self._reasons = RowReasons()

    async def write(self, engine: Engine) -> None:
        """Write what has lasted from one look to the next and is new. Raises ``DatabaseAway``."""
        names = self._rest or self._dispatch.lanes()
        part, rest = names[:LANES_EXPLAINED], names[LANES_EXPLAINED:]
        outside = {needs_login: self._why_not(needs_login) for needs_login in (False, True)}
        held = self._dispatch.explain(lambda kind: outside[kind.needs_login], part)
        changes = self._reasons.changes(held, ends=not rest)
        if changes:
            await asyncio.to_thread(waiting.write_reasons, engine, changes, utc_now())
        self._reasons.note(held, changes, ends=not rest)
        self._rest = rest


def _release_due(engine: Engine, account: str, now: dt.datetime) -> tuple[list[Job], dt.datetime | None]:
    return waiting.release_due(engine, account, now), waiting.next_due(engine, account)


def _expire_overdue(engine: Engine, account: str, now: dt.datetime) -> tuple[int, dt.datetime | None]:
    return recovery.expire_overdue(engine, account, now), waiting.next_expiry(engine, account)


def _earliest(*times: dt.datetime | None) -> dt.datetime | None:
    return min((time for time in times if time is not None), default=None)


def _learned(found: LaneHead, now: dt.datetime) -> tuple[str, Head, float]:
    """Return a lane's name, its first job, and for how many seconds that still backs off."""
    kind = kind_of(found.task.job_class, found.now, found.task.exclusive)
    due_in = 0.0 if found.due_at is None else (bounded_due_at(found.due_at, now) - now).total_seconds()
    return found.lane, Head(found.step, found.priority, found.seq, kind), due_in
