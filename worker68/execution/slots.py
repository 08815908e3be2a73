"""What a job asks of the limits, and the slot that they grant it.

In: a job; an answer of the limiter. Out: the ask, the slot, the names of what may hold the job up, and what is chosen by all of
these. Never: Redis, a wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, TypeAlias

from worker68.clock import monotonic
from worker68.jobs.job import Job
from worker68.limits.limiter import Ask, Grant, Refusal, Request
from worker68.loop import Gathered

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
