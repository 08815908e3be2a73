"""The desk: an account that this worker owns, and what is due there from time to time.

In: new jobs, and the passing of time. Out: jobs in their lanes; ended ones where their time was over; the reasons why others wait,
in their rows. Used by the pump's thread. Never: a frame, a message from Redis.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from worker68.clock import monotonic, utc_now
from worker68.execution import recovery
from worker68.execution.execute import Execution
from worker68.execution.intake import Intake
from worker68.execution.reasons import RowReasons
from worker68.execution.slots import Choice
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.store import waiting

#: What memory may have missed is looked up in SQL this often.
SWEEP_SECONDS = 30.0
#: An id that was revoked before a job with it was seen is remembered for this long (design, decision 7).
REVOKED_FOR = dt.timedelta(days=1)
#: Waiting jobs whose time is over end at most this late; a reason to wait that lasts from one look to the next is written down.
LOOK_SECONDS = 2.0


class Desk:
    """One account's waiting room as its owner keeps it. Everything here may raise ``DatabaseAway``: then ``distrust`` it."""

    def __init__(self, execution: Execution, intake: Intake) -> None:
        self.execution = execution
        self.account = execution.account.name
        self._intake = intake
        self._sweep_at = 0.0
        self._look_at = 0.0
        self._due: dt.datetime | None = None
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
        """Memory may have missed something that stands in SQL: look there next."""
        self._sweep_at = 0.0

    @property
    def look_again_at(self) -> float | None:
        """When the next deferred job is due, in monotonic seconds."""
        return None if self._due is None else monotonic() + (self._due - utc_now()).total_seconds()

    def take(self, jobs: Sequence[Job]) -> None:
        """Let jobs that were just taken in enter their lanes, now or when they are due."""
        self._taken_in += len(jobs)
        self.execution.dispatch.add(job for job in jobs if job.state is State.READY)
        times = [job.due_at for job in jobs if job.due_at is not None]
        self._due = min([*times, *([self._due] if self._due else [])], default=None)

    def tend(self) -> bool:
        """Do what is due; return whether replies may have come into the outbox."""
        self.execution.pacing.tell_busy()
        now = utc_now()
        dispatch, engine = self.execution.dispatch, self.execution.engine
        swept = monotonic() >= self._sweep_at
        if swept:
            self._sweep(now)
        if self._due is not None and self._due <= now:
            dispatch.add(waiting.release_due(engine, self.account, now))
            self._due = waiting.next_due(engine, self.account)
        if monotonic() < self._look_at:
            return swept
        self._look_at = monotonic() + LOOK_SECONDS
        if self.room == 0:
            self._count()  # what was cancelled or has expired makes room, and nobody tells
        self._explain()
        return recovery.expire_overdue(engine, self.account, now) > 0 or swept

    def choose(self, room: int) -> Choice:
        """Return what may start now, at most ``room`` jobs; nothing while memory is distrusted. Raises ``RedisAway``."""
        link, permit = self.execution.link, self.execution.permit
        if self._sweep_at == 0.0 or permit.why_not() or link.why_not_reached or not self.execution.owned():
            return Choice([], [], None)
        choice = self.execution.dispatch.choose(
            room, link.one_send_per_chat, utc_now(), link.api_url is not None, link.ready, link.one_send
        )
        for ready in choice.ready:
            self.execution.gate.expect(ready.job, ready.slot)
        return choice

    def _sweep(self, now: dt.datetime) -> None:
        execution, dispatch = self.execution, self.execution.dispatch
        recovery.resolve_abandoned(execution.engine, self.account, dispatch.is_under_way, now)
        recovery.revive_parked(execution.engine, self._intake, self.account, now)
        dispatch.rebuild()
        waiting.forget_cancellations(execution.engine, now - REVOKED_FOR)
        self._due = waiting.next_due(execution.engine, self.account)
        self._count()
        self._sweep_at = monotonic() + SWEEP_SECONDS

    def _count(self) -> None:
        self._under_way = self.execution.dispatch.under_way()  # before the number: what ends in between is in both
        self._finished = self.execution.dispatch.finished
        self._taken_in = waiting.count_waiting(self.execution.engine, self.account)

    def _explain(self) -> None:
        """Write why the heads of lanes wait, where the reason has lasted from one look to the next and is new."""
        permit, link = self.execution.permit, self.execution.link
        outside = {needs_login: permit.why_not() or link.why_not(needs_login) for needs_login in (False, True)}
        held = self.execution.dispatch.explain(lambda step: outside[step.needs_login])
        changes = self._reasons.changes(held)
        if changes:
            waiting.write_reasons(self.execution.engine, changes, utc_now())
        self._reasons.note(held, changes)
