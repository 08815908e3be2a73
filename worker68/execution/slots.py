"""Slots: what a job asks of the limits, when they let its frame be written, and whether it may be written then.

In: a job; an answer of the limiter; a frame with its slot, and the moment. Out: the ask, the slot, the names of what may hold the
job up; and from the guard None for "write it", a reason in words, or a time. Only the guard answers that. On the loop. Never: SQL,
Redis, a wait.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from worker68.clock import boottime, monotonic, utc_now
from worker68.fleet.leases import Lease
from worker68.jobs.fields import Chat
from worker68.jobs.job import Job
from worker68.jobs.task import JobClass, LimitClass
from worker68.limits.limiter import Ask, Grant, Refusal, Request
from worker68.limits.rates import Limits, Rate
from worker68.loop import Gathered
from worker68.store.pauses import Pause

#: The limiter, asked in one round trip by all accounts that ask at the same moment.
SlotRequests: TypeAlias = Gathered[Request, list[Grant | Refusal]]

#: How soon it is seen that a probe has ended the pause of an account whose service kept saying busy.
PROBE_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Slot:
    """When a frame may be written: from ``write_at`` on. Both in monotonic seconds; ``granted_at``: when the limits gave it."""

    ask: Ask
    write_at: float
    granted_at: float

    @property
    def age_seconds(self) -> float:
        """How long ago it was granted: what its frame meets belongs to the pace of that moment."""
        return monotonic() - self.granted_at


@dataclass(frozen=True)
class Ready:
    """A job that may start: its frame may be written in its slot."""

    job: Job
    slot: Slot


@dataclass(frozen=True)
class StepDone:
    """What a turn came to that ended no job: one step is done, and the next waits for its turn. No retry."""


@dataclass(frozen=True)
class Choice:
    """What one look found: jobs to start, jobs whose time is over, and when to look again (monotonic seconds) at the latest.

    ``short``: others may wait only for room in the worker.
    """

    ready: list[Ready]
    overdue: list[Job]
    look_again_at: float | None
    short: bool = False


class Blocked:
    """The scopes whose limits refuse all jobs that meet them, until when (monotonic seconds), and why in words."""

    def __init__(self) -> None:
        self._blocked: dict[Hashable, tuple[float, str]] = {}
        self._ends: list[tuple[float, str]] = []  # a heap; of a scope that is refused for longer also an earlier end

    def __contains__(self, scope: Hashable) -> bool:
        return scope in self._blocked

    def __getitem__(self, scope: Hashable) -> str:
        """Return why a scope is refused."""
        return self._blocked[scope][1]

    def add(self, scope: str, until: float, why: str) -> None:
        self._blocked[scope] = max((until, why), self._blocked.get(scope, (until, why)))
        heapq.heappush(self._ends, (until, scope))

    def end(self, at: float) -> list[str]:
        """Return the scopes that are refused no more at this time."""
        over = []
        while self._ends and self._ends[0][0] <= at:
            scope = heapq.heappop(self._ends)[1]
            if scope in self._blocked and self._blocked[scope][0] <= at:
                del self._blocked[scope]
                over.append(scope)
        return over

    @property
    def next_end(self) -> float | None:
        """When the next scope may be refused no more."""
        return self._ends[0][0] if self._ends else None


def ask_of(job: Job) -> Ask:
    return Ask(job.chat, job.now.limit, job.now.call)


def slot_of(ask: Ask, grant: Grant, at: float) -> Slot:
    """Return the slot that was granted at ``at`` (monotonic seconds)."""
    return Slot(ask, at + grant.wait_seconds, at)


def scopes_of(job: Job) -> tuple[str, ...]:
    """Name the limits that a job meets: ``account``, its class, its kind of call, its chat."""
    chat, call = job.chat, job.now.call
    scopes = ("account", ask_of(job).job_class, *([call_scope(call)] if call else []))
    return (*scopes, f"chat:{chat.type}:{chat.id}") if chat else scopes


def call_scope(call: str) -> str:
    """Name what holds up all jobs whose next call is of this kind."""
    return f"call:{call}"


def ask_again_at(refusal: Refusal, at: float) -> float:
    """Return when a limit that refused at ``at`` is worth asking again (monotonic seconds).

    The answer of a probe may come at any moment, long before it would be given up.
    """
    wait = refusal.retry_after_seconds
    return at + (min(wait, PROBE_LOOK_SECONDS) if refusal.limit == "busy" else wait)


def scope_of(refusal: Refusal, job: Job) -> str:
    """Return which of these a refusal holds up; a service that keeps saying busy holds up the kind of call, or the account."""
    if refusal.call:
        return call_scope(refusal.call)
    scopes = {"chat": scopes_of(job)[-1], "busy": "account"}
    return scopes.get(refusal.limit, refusal.limit)


#: A moderation that has its slot goes before sends whose slots are no earlier, however late it is; but so long at most.
MODERATION_PATIENCE_SECONDS: Final = 2.0

#: How long an answer counts. Long enough for a slow commit or a large batch between two looks; short enough to wait for.
ANSWER_SECONDS: Final = 5.0

_NOT_ASKED: Final = "whether the account is paused could not be asked: is the database away?"

NOT_OWNED: Final = "this worker does not own the account any more"


@dataclass(frozen=True)
class Answer:
    """What SQL said when it was asked at ``asked_at`` (CLOCK_BOOTTIME): all pauses that hold, by account."""

    asked_at: float
    pauses: Mapping[str, Pause]


class AccountPause:
    """Whether one account is paused, for its owner, from the moment at which it opened the account.

    ``last`` gives the newest answer.
    """

    def __init__(self, account: str, last: Callable[[], Answer]) -> None:
        self._account = account
        self._last = last
        self._opened_at = boottime()

    @property
    def pause(self) -> Pause | None:
        return self._last().pauses.get(self._account)

    def counts(self, answer: Answer) -> bool:
        """Whether an answer is of this owner's time. The account's last owner may have stopped for a later pause, and said so."""
        return self._opened_at <= answer.asked_at

    def why_not(self) -> str | None:
        """Return why nothing may be written now, None where it may: SQL has said within ``ANSWER_SECONDS`` that no pause holds."""
        answer = self._last()
        if (pause := answer.pauses.get(self._account)) is not None:
            return pause.words
        return None if self.counts(answer) and boottime() < answer.asked_at + ANSWER_SECONDS else _NOT_ASKED


class WriteGuard:
    """May a frame of one account, under one lease, be written now, and if not, why not, or from when on?"""

    def __init__(self, limits: Limits, lease: Lease, pause: AccountPause) -> None:
        self._lease = lease
        self._pause = pause
        self._spacing = Spacing(limits)
        # Moderations that have their slots and are not written yet, by their numbers: the time of the first slot, and until when
        # they are waited for.
        self._moderations: dict[int, tuple[float, float]] = {}

    @property
    def tolerance_seconds(self) -> float:
        """How late any frame may come in its slot and still use it."""
        return self._spacing.tolerance_seconds

    @property
    def paused(self) -> bool:
        """Whether a pause holds, as far as is known."""
        return self._pause.pause is not None

    def why_not(self) -> str | None:
        """Return why nothing at all may be written for the account now, None where it may: the lease has ended, or a pause holds.

        It is the guard of the frames that belong to no job.
        """
        return self._pause.why_not() if self._lease.held else NOT_OWNED

    def may_write(self, job: Job, slot: Slot) -> str | float | None:
        """Decide about a job's next frame, which has this slot. None takes note of the write: it must follow at once."""
        if (reason := self.why_not()) is not None:
            return reason
        if job.expires_at is not None and job.expires_at <= utc_now():
            return "its time was over before its slot came"
        if self.is_too_old(slot):
            return "its slot has passed"
        now = monotonic()
        opens_at = max(slot.write_at, self._spacing.earliest(slot.ask), self._moderations_until(job, slot, now))
        if opens_at > now:
            return opens_at
        self._moderations.pop(job.seq, None)
        self._spacing.note_write(slot.ask, now)
        return None

    def is_too_old(self, slot: Slot) -> bool:
        """Whether a slot was missed by so much that another one is needed."""
        return monotonic() - slot.write_at > self._spacing.oldest(slot.ask)

    def expect(self, job: Job, slot: Slot) -> None:
        """Take note that this job is to be written soon: it was chosen, or has missed its slot and took another.

        A moderation then keeps its place before the sends that were chosen after it, which may have taken another slot sooner.
        """
        if job.kind.job_class is JobClass.MODERATION:
            first_slot, _ = self._moderations.get(job.seq, (slot.write_at, 0.0))
            self._moderations[job.seq] = (first_slot, slot.write_at + MODERATION_PATIENCE_SECONDS)

    def _moderations_until(self, job: Job, slot: Slot, now: float) -> float:
        """Return until when this frame waits for moderations at most. Each write makes the link ask again for all that is held."""
        if job.kind.job_class is JobClass.MODERATION or not self._moderations:
            return -math.inf
        self._moderations = {seq: times for seq, times in self._moderations.items() if times[1] > now}
        return max((until for at, until in self._moderations.values() if at <= slot.write_at), default=-math.inf)


class JobFrames:
    """The frames of one attempt of a job, written one after the other, each in a slot of its own.

    The link calls it just before the first byte of each. ``written``: whether it let any of them leave. ``call``: the kind of the
    last one's call. ``was_busy``: whether it was answered with "busy".
    """

    def __init__(self, guard: WriteGuard, job: Job, slot: Slot) -> None:
        self._guard = guard
        self._job = job
        self.slot = slot
        self.call = slot.ask.call
        self.was_busy = False
        self.written = False

    def renew(self, slot: Slot) -> None:
        """Take the slot of the next frame, while none is under way."""
        self.slot, self.call, self.was_busy = slot, slot.ask.call, False

    def __call__(self) -> str | float | None:
        answer = self._guard.may_write(self._job, self.slot)
        self.written |= answer is None
        return answer


#: What a late timer may take without shifting all writes after it: a quarter of the interval, so that windows hold what they may
#: hold (one interval would be one write too many), and no more than timers are late.
LATE_SHARE: Final = 0.25
LATE_SECONDS: Final = 0.05

#: A slot may be as old as its interval: what stalled for longer would come all at once. Between these: on the way from a thread to
#: the socket some milliseconds always pass, and what was planned half a second ago is not needed that exactly.
YOUNGEST_SECONDS: Final = 0.02
OLDEST_SECONDS: Final = 0.5

#: Chats that were not written to for longer than their interval are forgotten when there are so many.
_CHATS_KEPT: Final = 1000

_Scope = Chat | LimitClass | None


class Spacing:
    """Keeps the writes of one account as far apart as its limits want, by the last ones under each of them.

    The limiter's slots are evenly spaced, but what is written late in its slot would come too near to the next one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # When the next write would be due if all were evenly spaced. None: the account.
        self._due: dict[_Scope, float] = {}

    def earliest(self, ask: Ask) -> float:
        """Return from when on this may be written, in monotonic seconds; it may lie in the past."""
        return max((self._earliest(scope, rate) for scope, rate in self._scopes(ask)), default=-math.inf)

    def note_write(self, ask: Ask, now: float) -> None:
        """Take note that this is written now."""
        if len(self._due) > _CHATS_KEPT:
            self._due = {scope: due for scope, due in self._due.items() if due > now}
        for scope, rate in self._scopes(ask):
            self._due[scope] = max(self._due.get(scope, now), now) + _interval(rate)

    def oldest(self, ask: Ask) -> float:
        """Return how many seconds after its time a slot may still be used; without a limit for ever."""
        shortest = min((_interval(rate) for _, rate in self._scopes(ask)), default=None)
        return math.inf if shortest is None else _oldest(shortest)

    @property
    def tolerance_seconds(self) -> float:
        """How late any frame may come in its slot and still use it."""
        limits = self._limits
        rates = (limits.account, limits.chat, limits.send, limits.moderate, limits.read)
        return min((_oldest(_interval(rate)) for rate in rates if rate is not None), default=math.inf)

    def _earliest(self, scope: _Scope, rate: Rate) -> float:
        interval = _interval(rate)
        slack = (rate.burst - 1) * interval + min(LATE_SHARE * interval, LATE_SECONDS)
        return self._due.get(scope, -math.inf) - slack

    def _scopes(self, ask: Ask) -> Iterator[tuple[_Scope, Rate]]:
        limits = self._limits
        if limits.account is not None:
            yield None, limits.account
        if limits.chat is not None and ask.chat is not None:
            yield ask.chat, limits.chat
        of_class: Rate | None = getattr(limits, ask.job_class)
        if of_class is not None:
            yield ask.job_class, of_class


def _oldest(interval_seconds: float) -> float:
    return min(OLDEST_SECONDS, max(YOUNGEST_SECONDS, interval_seconds))


def _interval(rate: Rate) -> float:
    return rate.interval_microseconds / 1_000_000
