"""The desk: an account that this worker owns, and what is due there from time to time.

In: new jobs, and the passing of time. Out: jobs in their lanes; ended ones where their time was over; the reasons why others wait,
in their rows. On the loop; SQL is asked in the pool. Never: a frame, a message from Redis.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

from worker68.clock import monotonic, utc_now
from worker68.execution import recovery
from worker68.execution.execute import Execution
from worker68.execution.intake import Intake
from worker68.execution.lanes import Head, kind_of
from worker68.execution.reasons import RowReasons
from worker68.execution.slots import Choice
from worker68.execution.unfinished import Unfinished
from worker68.jobs.job import Job
from worker68.jobs.retry import bounded_due_at
from worker68.jobs.states import State
from worker68.store import waiting
from worker68.store.engine import Engine
from worker68.store.lanes import LaneHead, find_lanes

#: What memory may have missed is looked up in SQL this often, a part of the lanes at each look.
SWEEP_SECONDS = 30.0
#: Lanes of which SQL says the first jobs in one step, and lanes that are explained in one: some milliseconds of the loop.
LANES_AT_ONCE = 1000
LANES_EXPLAINED = 500
#: Waiting jobs whose time is over end at most this late; a reason to wait that lasts from one look to the next is written down.
LOOK_SECONDS = 2.0
#: What waits for a permit looks again this often.
PERMIT_LOOK_SECONDS = 1.0


class Desk:
    """One account's waiting room as its owner keeps it, used by one coroutine.

    Everything here may raise ``DatabaseAway``: then ``distrust`` it.
    """

    def __init__(self, execution: Execution, intake: Intake, unfinished: Unfinished) -> None:
        self.execution = execution
        self._in_sql = unfinished
        self.account = execution.account.name
        self._intake = intake
        self._sweep_at = 0.0
        self._look_at = 0.0
        self._due: dt.datetime | None = None
        self._expires: dt.datetime | None = None
        self._expiring: dict[int, dt.datetime] = {}  # jobs that had their turn, and may come back
        self._knows_lanes = False  # all of them, as SQL had them after the last failure
        self._found_to: str | None = ""  # while lanes are looked up: the last one so far
        self._unexplained: list[str] = []
        self._reasons = RowReasons()
        # Unfinished jobs that SQL counted last and those taken in since; which were under way and how many had finished by then.
        self._taken_in = 0
        self._under_way: frozenset[int] = frozenset()
        self._finished = 0

    @property
    def room(self) -> int:
        """How many more jobs may wait in the database."""
        return max(0, self.execution.account.max_waiting - self.unfinished)

    @property
    def unfinished(self) -> int:
        """How many jobs wait or are under way, at most: as SQL counted them last, and what came and went since.

        Of those that were under way when it counted, SQL may have seen the end already: so their end opens no room before it
        counts again.
        """
        dispatch = self.execution.dispatch
        ended = dispatch.finished - self._finished  # read first: a job that ends meanwhile may only be missed here
        seen = sum(not dispatch.is_under_way(seq) for seq in self._under_way)
        return self._taken_in - max(0, ended - seen)

    def distrust(self) -> None:
        """Memory may have missed something that stands in SQL: nothing starts before that was looked at."""
        self._sweep_at = 0.0
        self._knows_lanes, self._found_to = False, ""

    def take(self, jobs: Sequence[Job]) -> None:
        """Let jobs that were just taken in enter their lanes, now or when they are due."""
        self._taken_in += len(jobs)
        self.execution.dispatch.add(job for job in jobs if job.state is State.READY)
        self._due = _earliest(self._due, *(job.due_at for job in jobs))
        self._expires = _earliest(self._expires, *(job.expires_at for job in jobs))

    async def tend(self) -> None:
        """Do what is due. Raises ``RedisAway``."""
        await self.execution.pacing.tell_busy()
        now = utc_now()
        dispatch, engine = self.execution.dispatch, self.execution.engine
        if monotonic() >= self._sweep_at:
            if await self._in_sql.has(self.account) or not self._knows_lanes or self._has_work:
                await self._begin_sweep(now)
            self._sweep_at = monotonic() + SWEEP_SECONDS
        looks = monotonic() >= self._look_at
        if self._found_to is not None and (looks or not self._knows_lanes):
            await self._find_lanes(now)
        if self._due is not None and self._due <= now:
            self._due = None  # what comes meanwhile is counted again
            released, due = await asyncio.to_thread(_release_due, engine, self.account, now)
            dispatch.add(released)
            self._due = _earliest(self._due, due)
        if looks:
            self._look_at = monotonic() + LOOK_SECONDS
            if self.room == 0:
                await self._count()  # what was cancelled or has expired makes room, and no word of it comes
            await self._explain()
            await self._expire(now)

    @property
    def _has_work(self) -> bool:
        """Whether memory knows of anything unfinished."""
        return self.execution.dispatch.has_lanes or self.unfinished > 0 or bool(self._due or self._expires)

    @property
    def tend_at(self) -> float:
        """When something is due here, as far as is known (monotonic seconds): to be tended then."""
        if not self._knows_lanes:
            return 0.0
        times = [self._sweep_at]
        if self._found_to is not None or self._expires or self.execution.dispatch.has_lanes or self.room == 0:
            times.append(self._look_at)
        if self._due is not None:
            times.append(monotonic() + (self._due - utc_now()).total_seconds())
        return min(times)

    async def choose(self) -> Choice:
        """Return what may start now, as far as the worker has room; nothing while memory is distrusted. Raises ``RedisAway``."""
        link, permit = self.execution.link, self.execution.permit
        if not self._knows_lanes or link.why_not_reached or not self.execution.owned():
            return Choice([], [], None)
        if permit.why_not():  # that SQL answers again, nothing tells
            return Choice([], [], monotonic() + PERMIT_LOOK_SECONDS if self.execution.dispatch.has_lanes else None)
        choice = await self.execution.dispatch.choose(
            link.one_send_per_chat, utc_now(), link.api_url is not None, link.ready, link.one_send
        )
        for ready in choice.ready:
            self.execution.gate.expect(ready.job, ready.slot)
            if ready.job.expires_at is not None:
                self._expiring[ready.job.seq] = ready.job.expires_at
        return choice

    async def end_overdue(self, jobs: Sequence[Job]) -> None:
        """End jobs whose time was over when their turn came."""
        await asyncio.to_thread(recovery.expire, self.execution.engine, jobs, utc_now())
        self.execution.announce()

    async def _begin_sweep(self, now: dt.datetime) -> None:
        execution = self.execution
        self._due = self._expires = None
        revived, due, expires = await asyncio.to_thread(self._resolve, now)
        self.execution.announce()  # what was resolved may have ended
        self.take(revived)
        self._due, self._expires = _earliest(self._due, due), _earliest(self._expires, expires)
        await self._count()
        execution.dispatch.unload()
        self._found_to = self._found_to or ""

    def _resolve(self, now: dt.datetime) -> tuple[list[Job], dt.datetime | None, dt.datetime | None]:
        """Resolve in SQL what nothing else looks after. Return jobs that may start now, and what is due next. In the pool."""
        engine, dispatch = self.execution.engine, self.execution.dispatch
        recovery.resolve_abandoned(engine, self.account, dispatch.is_under_way, now)
        revived = recovery.revive_parked(engine, self._intake, self.account, now)
        return revived, waiting.next_due(engine, self.account), waiting.next_expiry(engine, self.account)

    async def _find_lanes(self, now: dt.datetime) -> None:
        """Let memory know of further lanes, and of those that it knows what SQL has as their first job."""
        assert self._found_to is not None
        engine, after = self.execution.engine, self._found_to
        self.execution.dispatch.begin_look_up()
        heads, self._found_to = await asyncio.to_thread(find_lanes, engine, self.account, after, LANES_AT_ONCE)
        self.execution.dispatch.learn((head.lane, _head_of(head), _due_in(head, now)) for head in heads)
        if self._found_to is None:
            self._knows_lanes = True

    async def _expire(self, now: dt.datetime) -> None:
        back = [seq for seq in self._expiring if not self.execution.dispatch.is_under_way(seq)]
        self._expires = _earliest(self._expires, *map(self._expiring.pop, back))
        if self._expires is None or self._expires > now:
            return
        ended, self._expires = await asyncio.to_thread(_expire_overdue, self.execution.engine, self.account, now)
        if ended:
            self.execution.announce()

    async def _count(self) -> None:
        self._under_way = self.execution.dispatch.under_way()  # before the number: what ends in between is in both
        self._finished = self.execution.dispatch.finished
        self._taken_in = await asyncio.to_thread(waiting.count_waiting, self.execution.engine, self.account)

    async def _explain(self) -> None:
        """Write why the heads of lanes wait, where the reason has lasted from one look to the next and is new."""
        permit, link, dispatch = self.execution.permit, self.execution.link, self.execution.dispatch
        names = self._unexplained or dispatch.lanes()
        part, rest = names[:LANES_EXPLAINED], names[LANES_EXPLAINED:]
        outside = {needs_login: permit.why_not() or link.why_not(needs_login) for needs_login in (False, True)}
        held = dispatch.explain(lambda kind: outside[kind.needs_login], part)
        changes = self._reasons.changes(held, ends=not rest)
        if changes:
            await asyncio.to_thread(waiting.write_reasons, self.execution.engine, changes, utc_now())
        self._reasons.note(held, changes, ends=not rest)
        self._unexplained = rest


def _release_due(engine: Engine, account: str, now: dt.datetime) -> tuple[list[Job], dt.datetime | None]:
    return waiting.release_due(engine, account, now), waiting.next_due(engine, account)


def _expire_overdue(engine: Engine, account: str, now: dt.datetime) -> tuple[int, dt.datetime | None]:
    return recovery.expire_overdue(engine, account, now), waiting.next_expiry(engine, account)


def _earliest(*times: dt.datetime | None) -> dt.datetime | None:
    return min((time for time in times if time is not None), default=None)


def _head_of(found: LaneHead) -> Head:
    return Head(found.step, found.priority, found.seq, kind_of(found.task.job_class, found.now, found.task.exclusive))


def _due_in(found: LaneHead, now: dt.datetime) -> float:
    """Return for how many seconds a job still backs off."""
    return 0.0 if found.due_at is None else (bounded_due_at(found.due_at, now) - now).total_seconds()
