"""Lanes: jobs of which only the first may run, how much of them memory knows, and the order in which they have their turn.

In: jobs that wait; the heads of lanes as SQL has them. Out: the first job of each lane, and what kind of job it is; the lane whose
turn is next among the kinds that may start. What one chat holds up stands aside, and is not looked at until that is released.
Never: a limit, a clock, SQL.
"""

from __future__ import annotations

import bisect
import datetime as dt
import heapq
from collections.abc import Callable, Hashable
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from worker68.jobs.fields import Chat
from worker68.jobs.job import Job, is_shared_lane
from worker68.jobs.task import JobClass, LimitClass, Nature, Step
from worker68.store.lanes import UnknownHead

#: Where a job stands in its lane; the lowest is first.
Place = tuple[int, int, int]


class Kind(NamedTuple):
    """What decides, with the state of its account alone, whether a job may start: all jobs of one kind wait together."""

    job_class: JobClass
    limit: LimitClass
    read: bool
    message: bool
    through_api: bool
    needs_login: bool
    #: It lets nothing start beside it.
    exclusive: bool
    #: The kind of its next call, empty for a message.
    call: str


@lru_cache(maxsize=1024)
def kind_of(job_class: JobClass, step: Step, exclusive: bool) -> Kind:
    """Return the kind of a job that makes this step next."""
    read = step.nature is Nature.READ
    return Kind(
        job_class=job_class,
        limit=step.limit,
        read=read,
        message=step.message,
        through_api=step.through_api,
        needs_login=step.needs_login,
        exclusive=exclusive,
        call=step.call,
    )


class Head(NamedTuple):
    """As much of a job as the order of the lanes needs, where the job itself is not in memory."""

    step: int
    priority: int
    seq: int
    kind: Kind

    @property
    def place(self) -> Place:
        return -self.step, self.priority, self.seq


def head_of(job: Job) -> Head:
    """Return what the order of the lanes needs to know of a job."""
    return Head(job.step, job.priority, job.seq, kind_of(job.kind.job_class, job.now, job.exclusive))


def head_of_unknown(first: UnknownHead) -> Head:
    """Return the same of a job whose task is unknown here. Little holds up its kind: SQL must be asked what is behind it."""
    kind = Kind(
        job_class=first.job_class,
        limit="read",
        read=False,
        message=False,
        through_api=False,
        needs_login=False,
        exclusive=False,
        call="",
    )
    return Head(first.step, first.priority, first.seq, kind)


class Lane:
    """One lane of an account.

    ``jobs``: its first ones, in memory. ``beyond``: no job that waits in SQL alone comes before this one; None where memory holds
    all of them. ``running``: how many of it are under way. ``since``: its turn is before that of lanes with a higher number.
    ``left_in``: the look-up of the backlog in which a job was last left to SQL. ``ticket`` and ``stand``: where it stands in the
    order, which sets them.
    """

    __slots__ = ("beyond", "jobs", "left_in", "name", "running", "shared", "since", "stand", "ticket")

    def __init__(self, name: str, since: int) -> None:
        self.name = name
        self.shared = is_shared_lane(name)
        self.jobs: list[Job] = []
        self.beyond: Head | None = None
        self.running = 0
        self.left_in = 0
        self.since = since
        self.ticket = 0
        self.stand: Any = None

    @property
    def waits(self) -> bool:
        """Whether a job of it waits."""
        return bool(self.jobs) or self.beyond is not None

    @property
    def busy(self) -> bool:
        """Whether none of it may start, because one is under way."""
        return self.running > 0 and not self.shared

    @property
    def front(self) -> Job | Head:
        """The first of those that wait, whether it rests or not."""
        front = self.jobs[0] if self.jobs else self.beyond
        assert front is not None, "no job of this lane waits"
        return front

    def first(self, rests: Callable[[int], bool]) -> Job | Head | None:
        """Return the job whose turn is next, None where it rests or none waits; in a shared lane none waits for one that rests."""
        for job in self.jobs:
            if not rests(job.seq):
                return job
            if not self.shared:
                return None
        beyond = self.beyond
        # Of a shared lane only SQL can say whether all that it holds rest.
        return beyond if beyond is not None and (self.shared or not rests(beyond.seq)) else None

    def enter(self, job: Job) -> bool:
        """Let a job take its place in memory; return whether it did: not where SQL holds it behind others."""
        if self.beyond is not None and place_of(job) >= self.beyond.place:
            return False
        bisect.insort(self.jobs, job, key=place_of)
        return True

    def leave_to_sql(self, head: Head) -> list[Job]:
        """SQL alone holds this job and all behind it from now on; return those of them that were in memory."""
        cut = bisect.bisect_left(self.jobs, head.place, key=place_of)
        left = self.jobs[cut:]
        del self.jobs[cut:]
        if self.beyond is None or head.place < self.beyond.place:
            self.beyond = head
        return left


def place_of(job: Job) -> Place:
    """A job whose change is made goes on before all others of its lane: its announcement belongs to it."""
    return -job.step, job.priority, job.seq


def chat_of_send(job: Job) -> Chat | None:
    return job.chat if job.now.message else None


def is_read(job: Job) -> bool:
    return job.now.nature is Nature.READ


def is_overdue(job: Job, max_age_seconds: float | None, now: dt.datetime) -> bool:
    """Whether a waiting job's time is over: by its own expiry, or because it has been ready for too long."""
    if job.expires_at is not None and job.expires_at <= now:
        return True
    if max_age_seconds is None:
        return False
    waiting_since = max(job.received_at, job.due_at or job.received_at)
    return (now - waiting_since).total_seconds() > max_age_seconds


#: A heap is built anew when more entries than this, and than it has lanes, belong to lanes that have left it.
_DEAD_ENTRIES = 64

_tickets = count(1)


class _Queue:
    """Lanes by a key, the lowest first. A lane stands in one queue at most; an entry whose ticket is not the lane's is dead."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, float], int, Lane]] = []
        self._lanes = 0

    def add(self, lane: Lane, key: tuple[float, float]) -> None:
        lane.stand, lane.ticket = self, next(_tickets)
        heapq.heappush(self._heap, (key, lane.ticket, lane))
        self._lanes += 1

    def remove(self, lane: Lane) -> None:
        lane.stand, lane.ticket = None, 0
        self._lanes -= 1
        if len(self._heap) > 2 * self._lanes + _DEAD_ENTRIES:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
            heapq.heapify(self._heap)

    def first(self) -> tuple[tuple[float, float], Lane] | None:
        while self._heap:
            key, ticket, lane = self._heap[0]
            if ticket == lane.ticket:
                return key, lane
            heapq.heappop(self._heap)
        return None

    def next_of(self, most: int) -> list[Lane]:
        """Return the first lanes in their order, ``most`` of them at most."""
        popped: list[tuple[tuple[float, float], int, Lane]] = []
        while len(popped) < most and self.first() is not None:
            popped.append(heapq.heappop(self._heap))
        for entry in popped:
            heapq.heappush(self._heap, entry)
        return [lane for _, _, lane in popped]


class _Aside:
    """Lanes that one thing holds up."""

    def __init__(self, cause: Hashable) -> None:
        self.cause = cause
        self.lanes: dict[str, Lane] = {}

    def remove(self, lane: Lane) -> None:
        lane.stand = None
        del self.lanes[lane.name]


class Order:
    """Where the lanes of one account stand: open, aside, or nowhere."""

    def __init__(self) -> None:
        self._open: dict[Kind, _Queue] = {}
        self._aside: dict[Hashable, _Aside] = {}

    def remove(self, lane: Lane) -> None:
        if lane.stand is not None:
            lane.stand.remove(lane)

    def open(self, lane: Lane, kind: Kind, priority: int) -> None:
        """The lane waits for its turn: after lower priorities, and after those of its own with a lower ``since``."""
        self._open.setdefault(kind, _Queue()).add(lane, (priority, lane.since))

    def set_aside(self, lane: Lane, cause: Hashable) -> None:
        """The lane waits until ``cause`` is released."""
        self.remove(lane)
        lane.stand = aside = self._aside.setdefault(cause, _Aside(cause))
        aside.lanes[lane.name] = lane

    def first(self, may_start: Callable[[Kind], bool]) -> tuple[Kind, Lane] | None:
        """Return the lane whose turn is next, by class, priority and ``since``, among the kinds that may start."""
        best = None
        for kind, queue in self._open.items():
            entry = queue.first()
            if entry is not None and may_start(kind):
                turn = (kind.job_class, *entry[0])
                if best is None or turn < best[0]:
                    best = turn, kind, entry[1]
        return best and best[1:]

    def first_of(self, kind: Kind) -> Lane | None:
        """Return the lane of this kind whose turn is next."""
        entry = self._open[kind].first()
        return entry and entry[1]

    def next_of(self, kind: Kind, most: int) -> list[Lane]:
        """Return the lanes of this kind in their order, ``most`` of them at most."""
        return self._open[kind].next_of(most)

    def kinds(self) -> list[Kind]:
        """Return the kinds of which a lane is open."""
        return [kind for kind, queue in self._open.items() if queue.first() is not None]

    def release(self, cause: Hashable) -> list[Lane]:
        """Return the lanes that this held up; they stand nowhere then."""
        aside = self._aside.pop(cause, None)
        if aside is None:
            return []
        for lane in aside.lanes.values():
            lane.stand = None
        return list(aside.lanes.values())

    def cause_of(self, lane: Lane) -> Hashable | None:
        """Return what holds this lane up, if it stands aside."""
        return lane.stand.cause if isinstance(lane.stand, _Aside) else None

    def causes(self) -> list[Hashable]:
        """Return all that holds a lane up."""
        return list(self._aside)
