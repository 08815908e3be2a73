"""Dispatch: what is ready, decided in one place.

In: the waiting jobs of one account, the state of its bridge, the limits. Out: the jobs that may start now, each with its slot;
and for the rest why they wait. It keeps the first few jobs of each lane in memory; SQL holds the others and can rebuild it at any
time. Never: a write to SQL, a frame, a wait.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import structlog

from worker68.clock import monotonic, utc_now
from worker68.execution import reasons
from worker68.execution.custody import Custody
from worker68.execution.lanes import (
    Lane,
    heed_exclusive,
    is_overdue,
    is_read,
    leave_room_beside_reads,
    limit_sends,
)
from worker68.execution.slots import Choice, Ready, Slot, ask_again_at, ask_of, scope_of, scopes_of, slot_of
from worker68.execution.under_way import UnderWay
from worker68.jobs.job import Job
from worker68.jobs.task import JobClass, Nature, Step
from worker68.limits.limiter import Grant, Limiter, Refusal
from worker68.settings import AccountSettings

log = structlog.get_logger(__name__)

#: Jobs of one lane in memory: enough that a busy lane is refilled from SQL once in as many jobs.
LANE_DEPTH = 20

#: A job whose frame was not written is not tried again before this: whatever refused it needs a moment.
NOT_WRITTEN_PAUSE_SECONDS = 0.5

#: After a reconnect the bridge tells the API's address some milliseconds later than its readiness. As long as a moderation waits
#: for nothing else, sends wait for this too, so that it passes them; but not for ever.
API_PATIENCE_SECONDS = 5.0


class Dispatch:
    """The waiting jobs of one account. All methods may be called from any thread, but one thread alone chooses and rebuilds.

    Whoever brings word of a job (``make_room``, ``finish``, ``put_back``) never waits for the lock: with many lanes it is held for
    long, and the loop would stand still with every other job. ``finished`` counts the jobs that have left for good.
    """

    def __init__(
        self,
        account: AccountSettings,
        limiter: Limiter,
        load: Callable[[Sequence[str] | None], list[Job]],
        ready_in: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``load`` gives the first ``LANE_DEPTH`` jobs of these lanes, or of all, as SQL has them.

        ``ready_in``: how many seconds from now on a job that starts now can be written.
        """
        self._ready_in = ready_in
        self._account = account
        self._most_reads = max(1, account.max_in_flight // 2)
        self._limiter = limiter
        self._load = load
        self._custody = Custody()  # guards everything below
        self._lanes: dict[str, Lane] = {}
        self._starting = UnderWay()
        self._blocked: dict[str, tuple[float, str]] = {}
        # Jobs that keep their place but must not start before (monotonic seconds), and why.
        self._resting: dict[int, tuple[float, str]] = {}
        # While SQL is read: what came meanwhile, which the query may not have seen.
        self._missed: list[Job] | None = None
        self._api_missing_since: float | None = None
        self._one_send_per_chat, self._room, self._logged_in = False, 1, True
        self.finished = 0

    @property
    def in_flight(self) -> int:
        return len(self._starting)

    @property
    def occupied(self) -> int:
        """How many of those in flight take room: all but those that wait only for their end to be written down."""
        with self._custody.held():
            return self._starting.occupied

    def is_under_way(self, seq: int) -> bool:
        """Whether the job is on its way in this worker, from its turn to its end."""
        return seq in self._starting

    def under_way(self) -> frozenset[int]:
        """Return the numbers of the jobs that are on their way."""
        with self._custody.held():
            return frozenset(job.seq for job in self._starting)

    def has_more_urgent(self) -> bool:
        """Whether a send or a change has its turn, but for the account's limit: a long read leaves the next slot to it."""
        with self._custody.held():
            at = monotonic()
            heads = [lane for lane in self._lanes.values() if self._is_open(lane, at, heed_account_limit=False)]
            return any(lane.jobs[0].now.nature is not Nature.READ for lane in heads)

    def add(self, jobs: Iterable[Job]) -> None:
        """Let ready jobs enter their lanes, by priority and order of arrival. A job that is there already stays as it is."""
        with self._custody.held():
            for job in jobs:
                if job.seq not in self._starting:
                    self._enter(job)

    def rebuild(self) -> None:
        """Forget all waiting jobs and begin anew with the heads of the lanes as SQL has them. Raises ``DatabaseAway``."""
        jobs = self._read_sql(None)
        with self._custody.held():
            running = {name: lane.running for name, lane in self._lanes.items() if lane.running}
            self._lanes = {name: Lane(name, running=count) for name, count in running.items()}
            self._enter_loaded(jobs)
            present = {job.seq for lane in self._lanes.values() for job in lane.jobs}
            self._resting = {seq: rest for seq, rest in self._resting.items() if seq in present}

    def choose(
        self,
        room: int,
        one_send_per_chat: bool,
        now: dt.datetime,
        api_known: bool = True,
        logged_in: bool = True,
        one_send: bool = False,
    ) -> Choice:
        """Return what may start, at most ``room`` jobs; they count as in flight until ``finish``.

        Classes first, then priority, then the lane that has waited longest. ``one_send``: new sends go one at a time. Raises
        ``RedisAway`` (nothing may start then).
        """
        self._refill_lanes()
        with self._custody.held():
            at = monotonic()
            self._api_missing_since = None if api_known else self._api_missing_since or at
            self._one_send_per_chat, self._room, self._logged_in = one_send_per_chat, room, logged_in
            self._starting.heed_one_send(one_send)
            self._blocked = {scope: block for scope, block in self._blocked.items() if block[0] > at}
        ready: list[Ready] = []
        overdue: list[Job] = []
        while True:
            with self._custody.held():
                lanes = self._startable(at, room - len(ready))
                late = self._take_overdue(lanes, now)
                # The next of a lane whose first was late may be late as well.
                taken = [] if late else self._take_heads(lanes)
            overdue += late
            if not taken and not late:
                break
            try:
                ready += self._ask_limits(taken)
            except Exception as problem:
                if not ready and not overdue:
                    raise
                log.warning("choice_cut_short", account=self._account.name, problem=str(problem))
                break
        with self._custody.held():
            return Choice(ready, overdue, self._next_look(at))

    def take_new_slot(self, job: Job) -> Slot | None:
        """Return another slot for a job that missed its own, None where a limit refuses it now. Raises ``RedisAway``."""
        (answer,) = self._limiter.acquire(self._account.name, self._account.limits, [ask_of(job)])
        return slot_of(ask_of(job), answer, monotonic()) if isinstance(answer, Grant) else None

    def make_room(self, job: Job) -> None:
        """The outcome is known: another job may start while it is written down, but none behind it in its lane. Does not wait."""
        self._custody.leave(partial(self._starting.make_room, job.seq))

    def finish(self, job: Job) -> None:
        """The job has left: it ended, or somebody else has it. Does not wait."""
        self._custody.leave(partial(self._finish, job))

    def put_back(self, job: Job, after_seconds: float, why: str = reasons.BACKS_OFF) -> None:
        """The job did not end and keeps its place: it may start again ``after_seconds`` from now, ``why`` in words. No wait."""
        self._custody.leave(partial(self._put_back, job, (monotonic() + after_seconds, why)))

    def forget(self, seqs: Collection[int]) -> None:
        """These have ended while they waited, by somebody else's hand: the next of their lanes need not wait for their slots."""
        with self._custody.held():
            for lane in self._lanes.values():
                self.finished += len(lane.jobs)
                lane.jobs = [job for job in lane.jobs if job.seq not in seqs]
                self.finished -= len(lane.jobs)
            self._forget_empty_lanes()

    def explain(self, why_not: Callable[[Step], str | None] = lambda step: None) -> dict[int, str | None]:
        """Return in words why the first job of each lane waits, or None; ``why_not``: what outside holds its step up."""
        with self._custody.held():
            at = monotonic()
            waiting = [lane for lane in self._lanes.values() if lane.jobs]
            return {lane.jobs[0].seq: why_not(lane.jobs[0].now) or self._why(lane, at) for lane in waiting}

    def _finish(self, job: Job) -> None:
        self._release(job)
        self.finished += 1

    def _put_back(self, job: Job, rest: tuple[float, str]) -> None:
        self._release(job)
        self._resting[job.seq] = rest
        self._enter(job)

    def _enter(self, job: Job) -> None:
        if self._missed is not None:
            self._missed.append(job)
        lane = self._lanes.setdefault(job.lane, Lane(job.lane))
        if any(there.seq == job.seq for there in lane.jobs):
            return
        if not lane.jobs:
            lane.since = monotonic()
        if (
            lane.enter(job, LANE_DEPTH) is job
        ):  # SQL holds it behind others; if it rests, it does so also when it comes again
            return
        if job.due_at is not None and job.seq not in self._resting:
            self._resting[job.seq] = monotonic() + (job.due_at - utc_now()).total_seconds(), reasons.BACKS_OFF

    def _refill_lanes(self) -> None:
        """Load further jobs of lanes that have run empty in memory, but for some that rest, and not in SQL."""
        with self._custody.held():
            at = monotonic()
            few = [lane for lane in self._lanes.values() if lane.more and len(lane.jobs) < LANE_DEPTH // 2]
            empty = [lane.name for lane in few if all(self._rests(job, at) for job in lane.jobs)]
        if not empty:
            return
        jobs = self._read_sql(empty)
        with self._custody.held():
            for name in empty:
                if name in self._lanes:
                    self._lanes[name].more = False
            self._enter_loaded(jobs)
            self._forget_empty_lanes()

    def _read_sql(self, lanes: Sequence[str] | None) -> list[Job]:
        """Load heads of lanes without the lock. Only one thread reads; what others let enter meanwhile is not overlooked."""
        with self._custody.held():
            self._missed = []
        try:
            return self._load(lanes)
        except BaseException:
            self._missed = None
            raise

    def _forget_empty_lanes(self) -> None:
        self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.empty}

    def _enter_loaded(self, jobs: Sequence[Job]) -> None:
        """Enter the heads of lanes as SQL has them. A lane of which it gave ``LANE_DEPTH`` jobs may hold more."""
        missed, self._missed = self._missed or [], None
        for job in [*missed, *jobs]:  # what came meanwhile is newer than what the query saw
            if job.seq not in self._starting:
                self._enter(job)
        for name, count in Counter(job.lane for job in jobs).items():
            if name in self._lanes:
                self._lanes[name].more = self._lanes[name].more or count >= LANE_DEPTH

    def _take_overdue(self, lanes: Sequence[Lane], now: dt.datetime) -> list[Job]:
        """Take out the first jobs of these lanes whose time is over."""
        late = [lane for lane in lanes if is_overdue(lane.jobs[0], self._account.max_age, now)]
        taken = [self._leave(lane) for lane in late]
        if taken:
            self._forget_empty_lanes()
        return taken

    def _take_heads(self, lanes: Sequence[Lane]) -> list[tuple[Job, float]]:
        """Take out the first jobs of these lanes, as under way: so nothing else happens to them while the limits are asked.

        Returns with each from when on its lane had waited.
        """
        taken = []
        for lane in lanes:
            since, job = lane.since, self._leave(lane)
            lane.running += 1
            self._starting.add(job)
            taken.append((job, since))
        return taken

    def _ask_limits(self, taken: list[tuple[Job, float]]) -> list[Ready]:
        """Ask for the slots of jobs that were taken out, without the lock; what is refused goes back. Raises ``RedisAway``."""
        answers: Sequence[Grant | Refusal | None] = [None] * len(taken)
        asks, at, ready = [ask_of(job) for job, _ in taken], monotonic(), []
        try:
            answers = self._limiter.acquire(self._account.name, self._account.limits, asks, self._ready_in())
            # Reckoned from the reply: Redis meant a moment before it, and a slot is never used too early.
            at = monotonic()
        finally:
            with self._custody.held():
                for (job, since), answer in zip(taken, answers, strict=True):
                    if isinstance(answer, Grant):
                        ready.append(Ready(job, slot_of(ask_of(job), answer, at)))
                        continue
                    self._go_back(job, since)
                    if answer is not None:
                        words = reasons.refused(answer, self._account.limits)
                        self._blocked[scope_of(answer, job)] = (ask_again_at(answer, at), words)
        return ready

    def _go_back(self, job: Job, since: float) -> None:
        """Put a job that did not start where it was, as if nothing had been."""
        self._release(job, leave_lane=False)
        lane = self._lanes[job.lane]
        lane.insert(job)
        lane.since = since

    def _startable(self, at: float, room: int) -> list[Lane]:
        """Return the lanes whose first job may start now, the most urgent first, as many as have room."""
        room = min(room, self._account.max_in_flight - self._starting.occupied)
        if "account" in self._blocked or room <= 0:
            return []
        lanes = [lane for lane in self._lanes.values() if self._is_open(lane, at)]
        lanes.sort(key=lambda lane: (lane.jobs[0].kind.job_class, lane.jobs[0].priority, lane.since))
        if self._api_patience_until() > at:
            lanes = [lane for lane in lanes if lane.jobs[0].kind.job_class is JobClass.MODERATION]
        lanes = heed_exclusive(lanes, self._starting.exclusive > 0, len(self._starting) > self._starting.reads)
        lanes = leave_room_beside_reads(lanes, self._most_reads - self._starting.reads)
        return limit_sends(lanes, self._one_send_per_chat, self._starting.one_send)[:room]

    def _is_open(self, lane: Lane, at: float, heed_account_limit: bool = True) -> bool:
        if not lane.jobs or (lane.running and lane.exclusive):
            return False
        job = lane.jobs[0]
        if self._rests(job, at):
            if lane.exclusive or (other := lane.bring_forward(lambda one: self._rests(one, at))) is None:
                return False
            job = other
        if self._starting.why_not_send(job, self._one_send_per_chat) is not None:
            return False
        if job.now.through_api and self._api_missing_since is not None:
            return False
        if job.now.needs_login and not self._logged_in:
            return False
        if not self._blocked:
            return True
        scopes = scopes_of(job) if heed_account_limit else [each for each in scopes_of(job) if each != "account"]
        return not any(scope in self._blocked for scope in scopes)

    def _rests(self, job: Job, at: float) -> bool:
        rest = self._resting.get(job.seq)
        return rest is not None and rest[0] > at

    def _api_patience_until(self) -> float:
        """Until when nothing but moderation starts, because one waits only for the API's address."""
        if self._api_missing_since is None:
            return -math.inf
        heads = [lane.jobs[0] for lane in self._lanes.values() if lane.jobs]
        waits = any(job.now.through_api and job.kind.job_class is JobClass.MODERATION for job in heads)
        return self._api_missing_since + API_PATIENCE_SECONDS if waits else -math.inf

    def _leave(self, lane: Lane) -> Job:
        lane.since = monotonic()
        job = lane.jobs.pop(0)
        self._resting.pop(job.seq, None)
        return job

    def _release(self, job: Job, leave_lane: bool = True) -> None:
        if self._starting.pop(job.seq) is None:
            return
        lane = self._lanes.get(job.lane)
        if lane is None:
            return
        lane.running -= 1
        if lane.empty and leave_lane:
            del self._lanes[job.lane]

    def _next_look(self, at: float) -> float | None:
        times = [until for until, _ in self._resting.values() if until > at]
        times += [until for until, _ in self._blocked.values()]
        times += [until for until in [self._api_patience_until()] if until > at]
        return min(times, default=None)

    def _why(self, lane: Lane, at: float) -> str | None:
        job = lane.jobs[0]
        if lane.running and lane.exclusive:
            return reasons.behind(one.job_id for one in self._starting if one.lane == lane.name)
        if self._starting.exclusive:
            return "until the restart of the client is over"
        if job.exclusive and self._starting:
            return "until no send or change of the account is under way"
        if self._rests(job, at):
            return self._resting[job.seq][1]
        if (words := self._starting.why_not_send(job, self._one_send_per_chat)) is not None:
            return words
        if is_read(job) and self._starting.reads >= self._most_reads:
            return "behind other reads of the account, which take at most half of MAX_IN_FLIGHT"
        if job.now.through_api and self._api_missing_since is not None:
            return "the bridge has not told the address of the service's API yet"
        for scope in scopes_of(job):
            if scope in self._blocked:
                return self._blocked[scope][1]
        if (occupied := self._starting.occupied) >= self._account.max_in_flight:
            return f"{occupied} jobs of the account are under way, as many as MAX_IN_FLIGHT allows"
        return "the worker has as many jobs under way as CONCURRENCY allows" if self._room <= 0 else None
