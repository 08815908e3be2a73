"""The backlog: the waiting jobs of one account, lane by lane, as far as memory needs to know them.

In: jobs as they arrive and come back; the heads of lanes as SQL has them; jobs loaded from SQL. Out: the lane whose turn is next,
and its job. It knows every lane, but keeps only those jobs in memory whose turn comes soon; the others are in SQL alone, and are
loaded when their turn comes. Never: a query, a limit, a lock.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence

from worker68.clock import monotonic, utc_now
from worker68.execution import reasons
from worker68.execution.lanes import Head, Kind, Lane, Order, head_of, head_of_unknown
from worker68.execution.under_way import UnderWay
from worker68.jobs.job import Job
from worker68.jobs.retry import bounded_due_at
from worker68.store.lanes import UnknownHead

#: Jobs of one lane in memory at most: enough that a busy lane is loaded from SQL once in as many jobs.
LANE_DEPTH = 20

#: Jobs of one account in memory at most: some megabytes. The more lanes there are, the fewer jobs each of them has there.
MOST_IN_MEMORY = 2000

#: Lanes that are loaded at once: those whose turn comes next.
LANES_LOADED = 100

#: A lane of which nothing could be loaded that may start is not loaded again before this.
LOAD_AGAIN_SECONDS = 1.0

#: A lane whose first job is of an unknown task is loaded again after this: that job may have ended.
LOOK_AGAIN_SECONDS = 30.0

#: So long a rest that is over is remembered: of a job that another worker ended no word comes.
RESTS_KEPT_SECONDS = 600.0

#: Lanes that SQL had before this owner come before those that have had a turn since, in the order of their first jobs.
_FOUND = -(1 << 62)


class Backlog:
    """The waiting jobs of one account. ``under_way``: the jobs that have their turn; they are not in the backlog."""

    def __init__(self, under_way: UnderWay) -> None:
        self._under_way = under_way
        self._lanes: dict[str, Lane] = {}
        self._order = Order()
        self._turns = 0
        self._held: dict[int, Lane] = {}  # the jobs in memory, in the order in which they came there
        # Jobs that keep their place but must not start before (monotonic seconds), why, and in which lane. One whose rest is over
        # stays here: read again, its row may still name a later time, by a clock that was ahead.
        self._resting: dict[int, tuple[float, str, str]] = {}
        self._wakes: list[tuple[float, str]] = []  # a heap: when to look at which lane again
        # While lanes are loaded: what entered them, and what left, which the query may not have seen.
        self._came: dict[str, list[Job]] = {}
        self._left: set[int] = set()
        self._look_ups = 0  # of the first jobs of lanes in SQL

    def __len__(self) -> int:
        """How many jobs are in memory."""
        return len(self._held)

    @property
    def has_lanes(self) -> bool:
        return bool(self._lanes)

    def has_others(self, name: str) -> bool:
        """Whether a job may wait that one of this lane does not keep from starting."""
        lane = self._lanes.get(name)
        return len(self._lanes) > 1 or (lane is not None and lane.shared)

    def lanes(self) -> list[str]:
        """Return the names of all lanes."""
        return list(self._lanes)

    def waiting_lane(self, name: str) -> Lane | None:
        """Return this lane, if a job of it waits."""
        lane = self._lanes.get(name)
        return lane if lane is not None and lane.waits else None

    # Coming

    def enter(self, job: Job) -> None:
        """Let a job enter its lane. One that is there already stays as it is."""
        if job.seq in self._under_way or job.seq in self._held:
            return
        if job.lane in self._came:
            self._came[job.lane].append(job)
        lane = self._lanes.get(job.lane)
        if lane is None:
            lane = self._lanes[job.lane] = Lane(job.lane, self._next_turn())
        elif not lane.waits:
            lane.since = self._next_turn()
        self._hold(lane, job)
        if lane.jobs and (len(self._held) > MOST_IN_MEMORY or len(lane.jobs) > LANE_DEPTH):
            self._leave_to_sql(lane, head_of(lane.jobs[-1]))
        self._stand(lane)

    def begin_look_up(self) -> None:
        """SQL is about to be read for ``learn``. What happens to the lanes from now on is newer."""
        self._look_ups += 1

    def learn(self, name: str, head: Head, due_in: float) -> None:
        """SQL has a lane of which this is the first job; what memory holds behind that is loaded again when its turn comes.

        ``due_in``: seconds until it may start. What came in since SQL was read, and belongs before it, stays.
        """
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, head.seq + _FOUND)
        elif lane.left_in < self._look_ups:
            lane.beyond = None  # what SQL alone held before has ended, or is this job
        if due_in > 0 and head.seq not in self._resting:
            self._rest(head.seq, name, monotonic() + due_in, reasons.BACKS_OFF)
        self._move_out(lane, head)

    def hold(self, first: UnknownHead) -> None:
        """SQL has a job of an unknown task: it and those behind it in its lane wait. (In a shared lane none waits for another.)"""
        until, why = monotonic() + LOOK_AGAIN_SECONDS, reasons.held_by_unknown(first.task)
        self._rest(first.seq, first.lane, until, why)
        self.learn(first.lane, head_of_unknown(first), 0.0)

    def unload(self) -> None:
        """Leave all jobs to SQL: what memory has missed of them, or others have ended, is seen when their turn comes."""
        long_over = monotonic() - RESTS_KEPT_SECONDS
        self._resting = {seq: rest for seq, rest in self._resting.items() if rest[0] > long_over}
        for lane in dict.fromkeys(self._held.values()):
            self._move_out(lane, head_of(lane.jobs[0]))

    def put_back(self, job: Job, until: float, why: str) -> None:
        """A job that was under way keeps its place, and rests until then (monotonic seconds)."""
        self.release(job)
        self._rest(job.seq, job.lane, until, why)
        self.enter(job)

    # Leaving

    def first(self, may_start: Callable[[Kind], bool]) -> tuple[Kind, Lane, Job | None] | None:
        """Return the lane whose turn is next among the kinds that may start, with its job; None for one that SQL alone holds."""
        found = self._order.first(may_start)
        if found is None:
            return None
        kind, lane = found
        return kind, lane, self._job_in_memory(lane)

    def first_of(self, kind: Kind) -> tuple[Lane, Job | None] | None:
        """Return the lane of this kind whose turn is next."""
        lane = self._order.first_of(kind)
        return (lane, self._job_in_memory(lane)) if lane is not None else None

    def open_kinds(self) -> list[Kind]:
        """Return the kinds of jobs that wait for their turn, and for nothing of their lane or chat, as far as was looked."""
        return self._order.kinds()

    def take(self, lane: Lane, job: Job) -> int:
        """Let a job have its turn; return since when its lane had waited, for ``go_back``."""
        since, lane.since = lane.since, self._next_turn()
        lane.running += 1
        self._under_way.add(job)
        self.drop(lane, job)
        return since

    def drop(self, lane: Lane, job: Job) -> None:
        """Take a job out of its lane, which keeps its place in the order."""
        lane.jobs.remove(job)
        del self._held[job.seq]
        self._resting.pop(job.seq, None)
        self._stand(lane)

    def go_back(self, job: Job, since: int) -> None:
        """Put a job whose turn came to nothing where it was. Of several of one lane the one that was taken last goes first."""
        lane = self._lanes[job.lane]  # it is there as long as one of it is under way
        self._hold(lane, job)
        lane.since = since
        self.release(job)

    def release(self, job: Job) -> Job | None:
        """A job is not under way any more. Return it as it was when it had its turn, None if it had none."""
        was = self._under_way.pop(job.seq)
        if was is not None:
            self._note_left([job.seq])
            lane = self._lanes[was.lane]
            lane.running -= 1
            self._stand(lane)
        return was

    def forget(self, seqs: Collection[int]) -> int:
        """These have ended while they waited; return how many of them memory knew."""
        self._note_left(seqs)
        known = 0
        for seq in seqs:
            rest = self._resting.pop(seq, None)
            lane = self._held.pop(seq, None)
            known += lane is not None or rest is not None
            if lane is not None:
                lane.jobs = [job for job in lane.jobs if job.seq != seq]
                self._stand(lane)
            elif rest is not None:
                self._look_again(rest[2])
        return known

    # Waiting

    def rests(self, seq: int) -> bool:
        """Whether a job must not start yet."""
        rest = self._resting.get(seq)
        return rest is not None and rest[0] > monotonic()

    def why_rests(self, seq: int) -> str | None:
        return self._resting[seq][1] if self.rests(seq) else None

    def wake(self) -> None:
        """Let the lanes of jobs whose rest is over stand in the order again."""
        now = monotonic()
        while self._wakes and self._wakes[0][0] <= now:
            self._look_again(heapq.heappop(self._wakes)[1])

    @property
    def wakes_at(self) -> float | None:
        """When the next rest is over (monotonic seconds)."""
        return self._wakes[0][0] if self._wakes else None

    def set_aside(self, lane: Lane, cause: Hashable) -> None:
        """Let a lane wait, out of the order, until ``cause`` is released."""
        self._order.set_aside(lane, cause)

    def release_all(self, cause: Hashable) -> None:
        """Let the lanes that this held up stand in the order again."""
        for lane in self._order.release(cause):
            self._stand(lane)

    def cause_of(self, lane: Lane) -> Hashable | None:
        """Return what holds this lane up by itself."""
        return self._order.cause_of(lane)

    def causes(self) -> list[Hashable]:
        """Return all that holds a lane up by itself."""
        return self._order.causes()

    # Loading

    def unloaded(self, kind: Kind) -> list[Lane]:
        """Return the lanes of this kind that have their turn next and of which SQL alone holds the job."""
        lanes = self._order.next_of(kind, 2 * LANES_LOADED)
        return [lane for lane in lanes if self._job_in_memory(lane) is None][:LANES_LOADED]

    def begin_load(self, lanes: Sequence[Lane]) -> int:
        """These lanes are about to be loaded; return how many jobs of each to read. One load at a time."""
        self._came, self._left = {lane.name: [] for lane in lanes}, set()
        each = max(1, min(LANE_DEPTH, MOST_IN_MEMORY // (2 * len(self._lanes))))
        # SQL gives also those that rest, those that are in memory, and those under way whose attempt is not committed yet.
        resting = Counter(lane for _, _, lane in self._resting.values())
        return each + 1 + max(resting[lane.name] + len(lane.jobs) + lane.running for lane in lanes)

    def end_load(self, lanes: Sequence[Lane], depth: int, loaded: Sequence[Job | UnknownHead] | None) -> None:
        """Enter the first ``depth`` jobs of each of these lanes, as SQL had them; None where it could not be read."""
        came, self._came = self._came, {}
        if loaded is None:
            return
        of_lane: dict[str, list[Job]] = defaultdict(list)
        for job in loaded:
            if isinstance(job, Job):
                of_lane[job.lane].append(job)
        self._make_space(len(loaded))
        for lane in lanes:
            self._enter_loaded(lane, of_lane[lane.name], depth, came[lane.name])
        for unknown in loaded:
            if isinstance(unknown, UnknownHead):
                self.hold(unknown)

    def _enter_loaded(self, lane: Lane, jobs: list[Job], depth: int, came: list[Job]) -> None:
        """Enter jobs of a lane as SQL had them, and what ``came`` meanwhile, which is newer."""
        before = len(lane.jobs) + len(self._resting)
        lane.beyond = None
        if len(jobs) >= depth:
            self._leave_to_sql(lane, head_of(jobs.pop()))
        jobs = [job for job in jobs if job.seq not in self._left]
        for job in [*came, *jobs]:
            if job.seq not in self._under_way and job.seq not in self._held:
                self._hold(lane, job)
        self._stand(lane)
        nothing_new = len(lane.jobs) + len(self._resting) <= before
        if nothing_new and lane.waits and not lane.busy and isinstance(lane.first(self.rests), Head):
            self._order.remove(lane)
            heapq.heappush(self._wakes, (monotonic() + LOAD_AGAIN_SECONDS, lane.name))

    def _make_space(self, most: int) -> None:
        """Leave to SQL what came last, so that so many jobs may come into memory.

        But not what rests in a shared lane: it must be known which of its jobs do, or the lane would be loaded again and again.
        """
        for seq, lane in reversed(list(self._held.items())):
            if len(self._held) + most <= MOST_IN_MEMORY:
                break
            if seq in self._held and not (lane.shared and self.rests(seq)):
                self._move_out(lane, head_of(next(job for job in lane.jobs if job.seq == seq)))

    def _look_again(self, name: str) -> None:
        lane = self._lanes.get(name)
        if lane is not None and self.cause_of(lane) is None:
            self._stand(lane)

    def _move_out(self, lane: Lane, head: Head) -> None:
        """SQL alone holds this job of the lane and all behind it. If the lane stands aside, it stays there."""
        self._leave_to_sql(lane, head)
        if self.cause_of(lane) is None:
            self._stand(lane)

    # Standing

    def _hold(self, lane: Lane, job: Job) -> None:
        """Keep a job in memory, if it comes before all of its lane that SQL alone holds."""
        if not lane.enter(job):  # where it rests, it does so also when it is loaded
            lane.left_in = self._look_ups
            return
        self._held[job.seq] = lane
        if job.due_at is not None and job.seq not in self._resting:
            now = utc_now()  # it may have been set back since a job became due
            due_in = (bounded_due_at(job.due_at, now) - now).total_seconds()
            if due_in > 0:
                self._rest(job.seq, lane.name, monotonic() + due_in, reasons.BACKS_OFF)

    def _leave_to_sql(self, lane: Lane, head: Head) -> None:
        lane.left_in = self._look_ups
        for job in lane.leave_to_sql(head):
            del self._held[job.seq]

    def _job_in_memory(self, lane: Lane) -> Job | None:
        first = lane.first(self.rests)
        return first if isinstance(first, Job) else None

    def _stand(self, lane: Lane) -> None:
        """Let a lane stand where its next job belongs, nowhere while it rests; forget it where none waits and none is under way."""
        self._order.remove(lane)
        if not lane.waits and not lane.running:
            del self._lanes[lane.name]
        if not lane.waits or lane.busy:
            return
        first = lane.first(self.rests)
        if first is not None:
            head = first if isinstance(first, Head) else head_of(first)
            self._order.open(lane, head.kind, head.priority)

    def _rest(self, seq: int, lane: str, until: float, why: str) -> None:
        self._resting[seq] = until, why, lane
        heapq.heappush(self._wakes, (until, lane))

    def _note_left(self, seqs: Collection[int]) -> None:
        if self._came:
            self._left.update(seqs)

    def _next_turn(self) -> int:
        self._turns += 1
        return self._turns
