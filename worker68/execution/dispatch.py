"""Dispatch: what is ready, decided in one place.

In: the waiting jobs of one account, the state of its bridge, the limits. Out: the jobs that may start now, each with its write
time; and for the rest why they wait. It keeps the first few jobs of each lane in memory; SQL holds the others and can rebuild it
at any time. Never: a write to SQL, a frame, a wait.
"""

from __future__ import annotations

import bisect
import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from worker68.clock import monotonic, utc_now
from worker68.jobs.fields import Chat
from worker68.jobs.job import Job
from worker68.jobs.kinds import Nature
from worker68.limits.limiter import Ask, Grant, Limiter, Refusal
from worker68.settings import AccountSettings

log = structlog.get_logger(__name__)

#: Jobs of one lane in memory: enough that a busy lane is refilled from SQL once in as many jobs.
LANE_DEPTH = 20

#: A job whose frame was not written is not tried again before this: whatever refused it needs a moment.
NOT_WRITTEN_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Ready:
    """A job that may start: its frame may be written from ``write_at`` (monotonic seconds) on."""

    job: Job
    write_at: float


@dataclass
class _Lane:
    """The head of a lane. ``more``: SQL holds further jobs of it. ``since``: from when on its head has waited."""

    name: str
    jobs: list[Job] = field(default_factory=list)
    more: bool = False
    running: int = 0
    since: float = 0.0

    @property
    def exclusive(self) -> bool:
        """Whether its head may not run beside another one: only messages to a chat can opt out of their order."""
        return self.jobs[0].ordered or self.jobs[0].chat is None

    @property
    def empty(self) -> bool:
        return not self.jobs and not self.more and not self.running


@dataclass(frozen=True)
class Choice:
    """What one look found: jobs to start, jobs whose time is over, and when to look again (monotonic seconds) at the latest."""

    ready: list[Ready]
    overdue: list[Job]
    look_again_at: float | None


def _place(job: Job) -> tuple[int, int, int]:
    """A job whose change is made goes on before all others of its lane: its announcement belongs to it."""
    return -job.step, job.priority, job.seq


class Dispatch:
    """The waiting jobs of one account. All methods may be called from any thread.

    ``finished`` counts the jobs that have left for good.
    """

    def __init__(
        self, account: AccountSettings, limiter: Limiter, load: Callable[[Sequence[str] | None], list[Job]]
    ) -> None:
        """``load`` gives the first ``LANE_DEPTH`` jobs of these lanes, or of all, as SQL has them."""
        self._account = account
        self._limiter = limiter
        self._load = load
        self._lock = threading.Lock()  # guards everything below
        self._lanes: dict[str, _Lane] = {}
        self._starting: dict[int, Job] = {}
        self._sending_to: dict[Chat | None, int] = {}
        self._blocked: dict[str, tuple[float, str]] = {}
        self._resting: dict[int, float] = {}  # jobs that keep their place but must not start before (monotonic seconds)
        self._missed: list[Job] | None = (
            None  # while SQL is read: what came meanwhile, which the query may not have seen
        )
        self._api_known = True
        self.finished = 0

    @property
    def in_flight(self) -> int:
        return len(self._starting)

    @property
    def _reads_under_way(self) -> int:
        return sum(job.now.nature is Nature.READ for job in self._starting.values())

    @property
    def _most_reads(self) -> int:
        return max(1, self._account.max_in_flight // 2)

    def is_under_way(self, seq: int) -> bool:
        """Whether a thread of this worker carries the job from its turn to its end."""
        return seq in self._starting

    def add(self, jobs: Iterable[Job]) -> None:
        """Let ready jobs enter their lanes, by priority and order of arrival. A job that is there already stays as it is."""
        with self._lock:
            for job in jobs:
                if job.seq not in self._starting:
                    self._enter(job)

    def rebuild(self) -> None:
        """Forget all waiting jobs and begin anew with the heads of the lanes as SQL has them. Raises ``DatabaseAway``."""
        jobs = self._read_sql(None)
        with self._lock:
            running = {name: lane.running for name, lane in self._lanes.items() if lane.running}
            self._lanes = {name: _Lane(name, running=count) for name, count in running.items()}
            self._enter_loaded(jobs)
            present = {job.seq for lane in self._lanes.values() for job in lane.jobs}
            self._resting = {seq: until for seq, until in self._resting.items() if seq in present}

    def choose(self, room: int, one_send_per_chat: bool, now: dt.datetime, api_known: bool = True) -> Choice:
        """Return what may start, at most ``room`` jobs; they count as in flight until ``finish``.

        Classes first, then priority, then the lane that has waited longest. Raises ``RedisAway`` (nothing may start then).
        """
        self._refill_lanes()
        with self._lock:
            at = monotonic()
            self._api_known = api_known
            room = min(room, self._account.max_in_flight - len(self._starting))
            self._blocked = {scope: block for scope, block in self._blocked.items() if block[0] > at}
            ready: list[Ready] = []
            overdue: list[Job] = []
            while room > len(ready):
                lanes = self._startable(at, one_send_per_chat)[: room - len(ready)]
                if not lanes:
                    break
                late = [lane for lane in lanes if self._is_overdue(lane.jobs[0], now)]
                overdue += [self._leave(lane) for lane in late]
                self._forget_empty_lanes()
                try:
                    ready += self._start([lane for lane in lanes if lane not in late], at)
                except Exception as problem:
                    if not ready and not overdue:
                        raise
                    log.warning("choice_cut_short", account=self._account.name, problem=str(problem))
                    break
            return Choice(ready, overdue, self._next_look(at))

    def take_new_slot(self, job: Job) -> float | None:
        """Return a new write time for a job that missed its own, None where a limit refuses it now. Raises ``RedisAway``."""
        (answer,) = self._limiter.acquire(self._account.name, self._account.limits, [_ask(job)])
        return monotonic() + answer.wait_seconds if isinstance(answer, Grant) else None

    def finish(self, job: Job) -> None:
        """The job has left: it ended, or somebody else has it."""
        with self._lock:
            self._release(job)
            self.finished += 1

    def put_back(self, job: Job, after_seconds: float) -> None:
        """The job did not end and keeps its place: it may start again ``after_seconds`` from now."""
        with self._lock:
            self._release(job)
            self._resting[job.seq] = monotonic() + after_seconds
            self._enter(job)

    def explain(self, bridge_problem: str | None) -> dict[int, str]:
        """Return in words why the first job of each waiting lane waits."""
        with self._lock:
            at = monotonic()
            reasons = {}
            for lane in self._lanes.values():
                if lane.jobs:
                    reasons[lane.jobs[0].seq] = bridge_problem or self._why(lane, at)
            return {seq: reason for seq, reason in reasons.items() if reason}

    def _enter(self, job: Job) -> None:
        if self._missed is not None:
            self._missed.append(job)
        lane = self._lanes.setdefault(job.lane, _Lane(job.lane))
        if any(there.seq == job.seq for there in lane.jobs):
            return
        if not lane.jobs:
            lane.since = monotonic()
        if lane.more and (not lane.jobs or _place(job) > _place(lane.jobs[-1])):
            return  # SQL holds it behind others that are not in memory
        bisect.insort(lane.jobs, job, key=_place)
        if job.due_at is not None and job.seq not in self._resting:
            self._resting[job.seq] = monotonic() + (job.due_at - utc_now()).total_seconds()
        if len(lane.jobs) > LANE_DEPTH:
            self._resting.pop(lane.jobs.pop().seq, None)
            lane.more = True

    def _refill_lanes(self) -> None:
        """Load further jobs of lanes that have run empty in memory but not in SQL."""
        with self._lock:
            empty = [name for name, lane in self._lanes.items() if lane.more and not lane.jobs]
        if not empty:
            return
        jobs = self._read_sql(empty)
        with self._lock:
            for name in empty:
                if name in self._lanes:
                    self._lanes[name].more = False
            self._enter_loaded(jobs)
            self._forget_empty_lanes()

    def _read_sql(self, lanes: Sequence[str] | None) -> list[Job]:
        """Load heads of lanes without the lock. Only one thread reads; what others let enter meanwhile is not overlooked."""
        with self._lock:
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

    def _startable(self, at: float, one_send_per_chat: bool) -> list[_Lane]:
        lanes = [lane for lane in self._lanes.values() if self._is_open(lane, at, one_send_per_chat)]
        lanes.sort(key=lambda lane: (lane.jobs[0].kind.job_class, lane.jobs[0].priority, lane.since))
        lanes = self._leave_room_beside_reads(self._heed_exclusive(lanes))
        return _one_send_each(lanes) if one_send_per_chat else lanes

    def _leave_room_beside_reads(self, lanes: list[_Lane]) -> list[_Lane]:
        """Leave out reads beyond their share: a long list is read for minutes, and sends and moderation must find room."""
        reads = [lane for lane in lanes if lane.jobs[0].now.nature is Nature.READ]
        too_many = {lane.name for lane in reads[max(0, self._most_reads - self._reads_under_way) :]}
        return [lane for lane in lanes if lane.name not in too_many] if too_many else lanes

    def _heed_exclusive(self, lanes: list[_Lane]) -> list[_Lane]:
        """Leave out what may not start because of an exclusive job: it waits until no send or change is under way.

        Reads may be under way: what breaks off is read again.
        """
        if self._has_exclusive_under_way():
            return []
        for place, lane in enumerate(lanes):
            if lane.jobs[0].kind.exclusive:
                if place > 0:
                    return lanes[:place]
                return [] if any(job.now.nature is not Nature.READ for job in self._starting.values()) else [lane]
        return lanes

    def _has_exclusive_under_way(self) -> bool:
        return any(job.kind.exclusive for job in self._starting.values())

    def _is_open(self, lane: _Lane, at: float, one_send_per_chat: bool) -> bool:
        if not lane.jobs or (lane.running and lane.exclusive):
            return False
        job = lane.jobs[0]
        if self._resting.get(job.seq, at) > at:
            return False
        if one_send_per_chat and _chat_of_send(job) in self._sending_to:
            return False
        if job.now.through_api and not self._api_known:
            return False
        return not any(scope in self._blocked for scope in _scopes(job))

    def _start(self, lanes: list[_Lane], at: float) -> list[Ready]:
        asks = [_ask(lane.jobs[0]) for lane in lanes]
        answers = self._limiter.acquire(self._account.name, self._account.limits, asks)
        ready = []
        for lane, answer in zip(lanes, answers, strict=True):
            if isinstance(answer, Refusal):
                scope = _scope_of(answer, lane.jobs[0])
                self._blocked[scope] = (
                    at + answer.retry_after_seconds,
                    f"limit {answer.limit} of the account's settings",
                )
            else:
                assert isinstance(answer, Grant)
                job = self._leave(lane)
                lane.running += 1
                self._starting[job.seq] = job
                if chat := _chat_of_send(job):
                    self._sending_to[chat] = self._sending_to.get(chat, 0) + 1
                ready.append(Ready(job, at + answer.wait_seconds))
        return ready

    def _leave(self, lane: _Lane) -> Job:
        lane.since = monotonic()
        job = lane.jobs.pop(0)
        self._resting.pop(job.seq, None)
        return job

    def _release(self, job: Job) -> None:
        started = self._starting.pop(job.seq, None)  # as it was: its next step may be of another kind
        if started is None:
            return
        if chat := _chat_of_send(started):
            left = self._sending_to.pop(chat) - 1
            if left:
                self._sending_to[chat] = left
        lane = self._lanes.get(job.lane)
        if lane is None:
            return
        lane.running -= 1
        if lane.empty:
            del self._lanes[job.lane]

    def _is_overdue(self, job: Job, now: dt.datetime) -> bool:
        if job.expires_at is not None and job.expires_at <= now:
            return True
        if self._account.max_age is None:
            return False
        waiting_since = max(job.received_at, job.due_at or job.received_at)
        return (now - waiting_since).total_seconds() > self._account.max_age

    def _next_look(self, at: float) -> float | None:
        times = [until for until in self._resting.values() if until > at]
        times += [until for until, _ in self._blocked.values()]
        return min(times, default=None)

    def _why(self, lane: _Lane, at: float) -> str | None:
        if lane.running and lane.exclusive:
            return "behind another job of its lane that is under way"
        if self._has_exclusive_under_way():
            return "until the restart of the client is over"
        if lane.jobs[0].kind.exclusive and self._starting:
            return "until no send or change of the account is under way"
        if self._resting.get(lane.jobs[0].seq, at) > at:
            return "backing off after an attempt"
        if lane.jobs[0].now.nature is Nature.READ and self._reads_under_way >= self._most_reads:
            return "behind other reads of the account, which take at most half of MAX_IN_FLIGHT"
        if lane.jobs[0].now.through_api and not self._api_known:
            return "the bridge has not told the address of the service's API yet"
        for scope in _scopes(lane.jobs[0]):
            if scope in self._blocked:
                return self._blocked[scope][1]
        return None


def _ask(job: Job) -> Ask:
    return Ask(job.chat, job.now.limit)


def _chat_of_send(job: Job) -> Chat | None:
    return job.chat if job.now.message else None


def _one_send_each(lanes: list[_Lane]) -> list[_Lane]:
    """Leave out lanes that would start a second send to a chat: its ordered and its unordered jobs have two lanes."""
    chats: set[Chat] = set()
    chosen = []
    for lane in lanes:
        chat = _chat_of_send(lane.jobs[0])
        if chat is None or chat not in chats:
            chosen.append(lane)
            chats |= {chat} if chat else set()
    return chosen


def _scopes(job: Job) -> tuple[str, ...]:
    chat = job.chat
    scopes = ("account", job.now.limit)
    return (*scopes, f"chat:{chat.type}:{chat.id}") if chat else scopes


def _scope_of(refusal: Refusal, job: Job) -> str:
    return _scopes(job)[-1] if refusal.limit == "chat" else refusal.limit
