"""Dispatch: what is ready, decided in one place.

In: the waiting jobs of one account, the state of its bridge, the limits. Out: the jobs that may start now, each with its slot;
and for the rest why they wait. Never: a write to SQL, a frame, a wait.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from worker68.clock import monotonic
from worker68.errors import words_of
from worker68.execution import reasons
from worker68.execution.backlog import Backlog
from worker68.execution.lanes import Head, Kind, Lane, chat_of_send, head_of, is_overdue
from worker68.execution.slots import (
    Blocked,
    Choice,
    Ready,
    Slot,
    SlotRequests,
    ask_again_at,
    ask_of,
    call_scope,
    scope_of,
    scopes_of,
    slot_of,
)
from worker68.execution.under_way import Capacity, UnderWay
from worker68.jobs.fields import Chat
from worker68.jobs.job import Job
from worker68.jobs.task import JobClass
from worker68.limits.limiter import Grant, Refusal, Request
from worker68.settings import AccountSettings
from worker68.store.lanes import UnknownHead

log = structlog.get_logger(__name__)

#: One look asks the limits for so many jobs at most, takes out so many whose time is over, and loads lanes so often: then the other
#: accounts have their turn.
MOST_AT_ONCE = 500
MOST_LOADS = 10

#: A job whose frame was not written is not tried again before this: whatever refused it needs a moment.
NOT_WRITTEN_PAUSE_SECONDS = 0.5

#: After a reconnect the bridge tells the API's address some milliseconds later than its readiness. As long as a moderation waits
#: for nothing else, sends wait for this too, so that it passes them; but not for ever.
API_PATIENCE_SECONDS = 5.0


@dataclass
class _Outside:
    """What holds jobs up from outside, as of the last look."""

    one_send_per_chat: bool = False
    logged_in: bool = True
    api_missing_since: float | None = None


class Dispatch:
    """The waiting jobs of one account. On the loop; one coroutine alone chooses. ``finished``: how many jobs have left for good.

    While ``choose`` waits for Redis or SQL, jobs may come, end and come back.
    """

    def __init__(
        self,
        account: AccountSettings,
        slots: SlotRequests,
        load: Callable[[Sequence[str], int], Awaitable[Sequence[Job | UnknownHead]]],
        capacity: Capacity,
        ready_in: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``load`` gives the first jobs of these lanes as SQL has them, so many of each. ``capacity``: the worker's.

        ``ready_in``: how many seconds from now on a job that starts now can be written.
        """
        self._ready_in = ready_in
        self._account = account
        self._slots = slots
        self._load = load
        self._capacity = capacity
        self._under_way = UnderWay(capacity)
        self._backlog = Backlog(self._under_way)
        self._blocked = Blocked()
        self._outside = _Outside()
        self.finished = 0

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    @property
    def occupied(self) -> int:
        """How many of those in flight take room: all but those that wait only for their end to be written down."""
        return self._under_way.occupied

    def is_under_way(self, seq: int) -> bool:
        """Whether the job is on its way in this worker, from its turn to its end."""
        return seq in self._under_way

    def under_way(self) -> frozenset[int]:
        """Return the numbers of the jobs that are on their way."""
        return frozenset(job.seq for job in self._under_way)

    def has_more_urgent(self) -> bool:
        """Whether a send or a change has its turn, but for the account's limit: a long read leaves the next slot to it."""
        # What runs alone may wait for a send that is under way.
        kinds = [one for one in self._backlog.open_kinds() if not (one.read or one.exclusive or self._holds(one))]
        # Without room for it, a read that gave way would only keep its place for longer.
        return self._room > 0 and any(map(self._has_free, kinds))

    def add(self, jobs: Iterable[Job]) -> None:
        """Let ready jobs enter their lanes, by priority and order of arrival. A job that is there already stays as it is."""
        for job in jobs:
            self._backlog.enter(job)

    def begin_look_up(self) -> None:
        """SQL is about to be read for ``learn``."""
        self._backlog.begin_look_up()

    def learn(self, heads: Iterable[tuple[str, Head, float] | UnknownHead]) -> None:
        """SQL has these lanes: with each its name, its first job, and the seconds until that may start, as far as that is known."""
        for head in heads:
            self._backlog.hold(head) if isinstance(head, UnknownHead) else self._backlog.learn(*head)

    def unload(self) -> None:
        """Ask SQL again for the jobs that are in memory, when their turn comes."""
        self._backlog.unload()

    async def choose(
        self,
        one_send_per_chat: bool,
        now: dt.datetime,
        api_known: bool = True,
        logged_in: bool = True,
        one_send: bool = False,
    ) -> Choice:
        """Return what may start, as far as the worker has room; they count as in flight until ``finish``.

        Classes first, then priority, then the lane that has waited longest. ``one_send``: new sends go one at a time. Raises
        ``RedisAway`` and ``DatabaseAway``: nothing may start then.
        """
        at = monotonic()
        missing_since = None if api_known else self._outside.api_missing_since or at
        chats_go_on = self._outside.one_send_per_chat and not one_send_per_chat
        self._outside = _Outside(one_send_per_chat, logged_in, missing_since)
        self._under_way.limit_sends(one_send)
        self._lift(at, chats_go_on)
        ready: list[Ready] = []
        overdue: list[Job] = []
        asked = loads = 0
        while asked < MOST_AT_ONCE and len(overdue) < MOST_AT_ONCE and loads < MOST_LOADS:
            taken, unloaded = self._take(at, now, overdue)
            if not taken and not unloaded:
                return Choice(ready, overdue, self._next_look(at), self._is_short)
            try:
                if taken:
                    asked += len(taken)
                    ready += await self._ask_limits(taken)
                elif overdue:
                    break  # SQL would give them again: they end first
                else:
                    loads += 1
                    await self._load_lanes(unloaded)
            except Exception as problem:
                if not ready and not overdue:
                    raise
                log.warning("choice_cut_short", account=self._account.name, problem=words_of(problem))
                break
        return Choice(ready, overdue, at, self._is_short)

    async def take_new_slot(self, job: Job) -> Slot | None:
        """Return another slot for a job that missed its own, None where a limit refuses it. Raises ``RedisAway``."""
        (answer,) = await self._slots.ask(Request(self._account.name, self._account.limits, [ask_of(job)]))
        return slot_of(ask_of(job), answer, monotonic()) if isinstance(answer, Grant) else None

    def make_room(self, job: Job) -> bool:
        """The outcome is known: another job may start while it is written down, not in its lane. Return whether one may wait."""
        was_full = self._capacity.free <= 0
        self._under_way.make_room(job.seq)
        return was_full or self._backlog.has_others(job.lane)

    def finish(self, job: Job) -> None:
        """The job has left: it ended, or another worker has it."""
        self._release(job)
        self.finished += 1

    def put_back(self, job: Job, after_seconds: float, why: str = reasons.BACKS_OFF) -> None:
        """The job did not end and keeps its place: it may start again ``after_seconds`` from now, ``why`` in words."""
        self._release(job)
        self._backlog.put_back(job, monotonic() + after_seconds, why)

    def forget(self, seqs: Collection[int]) -> bool:
        """These have ended elsewhere while they waited; return whether memory knew one, so that the next of its lane may start."""
        known = self._backlog.forget(seqs)
        self.finished += known
        return known > 0

    @property
    def has_lanes(self) -> bool:
        """Whether a job waits or is under way."""
        return self._backlog.has_lanes

    def lanes(self) -> list[str]:
        """Return the names of all lanes, for ``explain``."""
        return self._backlog.lanes()

    def explain(
        self, why_not: Callable[[Kind], str | None] = lambda kind: None, lanes: Iterable[str] | None = None
    ) -> dict[int, str | None]:
        """Return in words why the first job of each lane, or of these, waits, or None.

        ``why_not``: what holds its kind up outside of here.
        """
        names = self._backlog.lanes() if lanes is None else lanes
        waiting = [lane for lane in map(self._backlog.waiting_lane, names) if lane is not None]
        found = [(lane, lane.first(self._backlog.rests) or lane.front) for lane in waiting]
        return {job.seq: self._why(lane, job, why_not) for lane, job in found}

    def _release(self, job: Job) -> None:
        was = self._backlog.release(job)
        if was is not None and (chat := chat_of_send(was)) is not None:
            self._backlog.release_all(chat)

    def _lift(self, at: float, chats_go_on: bool) -> None:
        """Let what no limit blocks any more, and what has rested, stand in the order again.

        ``chats_go_on``: no lane waits for a send in its chat any more.
        """
        for scope in self._blocked.end(at):
            self._backlog.release_all(scope)
        for cause in self._backlog.causes() if chats_go_on else ():
            if isinstance(cause, Chat):
                self._backlog.release_all(cause)
        self._backlog.wake()

    # Choosing

    @property
    def _room(self) -> int:
        """How many more jobs of the account may start."""
        return min(self._capacity.free, self._account.max_in_flight - self._under_way.occupied)

    @property
    def _is_short(self) -> bool:
        """Whether a job may wait for nothing but room in the worker."""
        return self._capacity.free <= 0 and self.has_lanes

    def _take(self, at: float, now: dt.datetime, overdue: list[Job]) -> tuple[list[tuple[Job, int]], list[Lane]]:
        """Take out the jobs whose turn it is, as under way: so nothing else happens to them while the limits are asked.

        Return with each since when its lane has waited; or the lanes that must be loaded before anything else has its turn. Those
        whose time is over are added to ``overdue``.
        """
        taken: list[tuple[Job, int]] = []
        patient = self._api_patience_until() > at
        room = min(self._room, MOST_AT_ONCE)
        while len(taken) < room and len(overdue) < MOST_AT_ONCE:
            found = self._backlog.first(lambda kind: self._may_start(kind, patient))
            if found is None:
                break
            kind, lane, job = found
            if job is None:
                return taken, [] if taken else self._backlog.unloaded(kind)
            if kind.exclusive and len(self._under_way) > self._under_way.reads:
                break  # it waits until no send or change is under way; reads may be: what breaks off is read again
            if (cause := self._held_by(job)) is not None:
                self._backlog.set_aside(lane, cause)
            elif is_overdue(job, self._account.max_age, now):
                self._backlog.drop(lane, job)
                overdue.append(job)  # the next of its lane may be late as well
            else:
                taken.append((job, self._backlog.take(lane, job)))
        return taken, []

    def _may_start(self, kind: Kind, patient: bool) -> bool:
        """Whether the account lets jobs of this kind start; ``patient``: only moderation may."""
        if "account" in self._blocked or self._under_way.exclusive:
            return False
        if patient and kind.job_class is not JobClass.MODERATION:
            return False
        return not (self._holds(kind) or (kind.read and self._under_way.reads >= self._most_reads))

    @property
    def _most_reads(self) -> int:
        """A long list is read for minutes, and sends and moderation must find a place."""
        return max(1, self._account.max_in_flight // 2)

    def _holds(self, kind: Kind) -> bool:
        """Whether something other than the account's limit, and than what is to run alone, holds up all jobs of this kind."""
        blocked = kind.limit in self._blocked or call_scope(kind.call) in self._blocked
        if blocked or (kind.message and self._under_way.holds_sends):
            return True
        if kind.through_api and self._outside.api_missing_since is not None:
            return True
        return kind.needs_login and not self._outside.logged_in

    def _held_by(self, job: Job) -> str | Chat | None:
        """Return what of its chat holds a job up: a limit, or a send under way."""
        chat = chat_of_send(job)
        if chat is not None and self._outside.one_send_per_chat and self._under_way.has_send_to(chat):
            return chat
        scope = scopes_of(job)[-1]
        return scope if job.chat is not None and scope in self._blocked else None

    def _has_free(self, kind: Kind) -> bool:
        """Whether a lane of this kind is held up by nothing of its chat."""
        while (found := self._backlog.first_of(kind)) is not None:
            lane, job = found
            if job is None or (cause := self._held_by(job)) is None:
                return True
            self._backlog.set_aside(lane, cause)
        return False

    async def _ask_limits(self, taken: list[tuple[Job, int]]) -> list[Ready]:
        """Ask for the slots of jobs that were taken out; what is refused goes back. Raises ``RedisAway``."""
        answers: Sequence[Grant | Refusal | None] = [None] * len(taken)
        asks, at, ready = [ask_of(job) for job, _ in taken], monotonic(), []
        try:
            answers = await self._slots.ask(Request(self._account.name, self._account.limits, asks, self._ready_in()))
            # Reckoned from the reply: Redis meant a moment before it, and a slot is never used too early.
            at = monotonic()
        finally:
            for (job, since), asked, answer in reversed(list(zip(taken, asks, answers, strict=True))):
                if isinstance(answer, Grant):
                    ready.append(Ready(job, slot_of(asked, answer, at)))
                else:
                    self._go_back(job, since, answer, at)
        return ready[::-1]

    def _go_back(self, job: Job, since: int, refusal: Refusal | None, at: float) -> None:
        """Put a job that did not start where it was, as if nothing had been."""
        if refusal is not None:
            scope = scope_of(refusal, job)
            self._blocked.add(scope, ask_again_at(refusal, at), reasons.refused(refusal, self._account.limits))
        self._backlog.go_back(job, since)
        if (chat := chat_of_send(job)) is not None:
            self._backlog.release_all(chat)

    async def _load_lanes(self, lanes: list[Lane]) -> None:
        """Load further jobs of these lanes. What happens to them meanwhile is not overlooked."""
        depth = self._backlog.begin_load(lanes)
        jobs = None
        try:
            jobs = await self._load([lane.name for lane in lanes], depth)
        finally:
            self._backlog.end_load(lanes, depth, jobs)

    # Saying when, and why

    def _api_patience_until(self) -> float:
        """Until when nothing but moderation starts, because one waits only for the API's address."""
        since = self._outside.api_missing_since
        if since is None:
            return -math.inf
        kinds = self._backlog.open_kinds()
        waits = any(kind.through_api and kind.job_class is JobClass.MODERATION for kind in kinds)
        return since + API_PATIENCE_SECONDS if waits else -math.inf

    def _next_look(self, at: float) -> float | None:
        times = [until for until in [self._api_patience_until()] if until > at]
        times += [until for until in [self._blocked.next_end, self._backlog.wakes_at] if until is not None]
        return min(times, default=None)

    def _why(self, lane: Lane, first: Job | Head, why_not: Callable[[Kind], str | None]) -> str | None:
        """Say in words why the next job of a lane waits; of one that SQL alone holds as far as memory knows."""
        job, kind = (None, first.kind) if isinstance(first, Head) else (first, head_of(first).kind)
        if words := why_not(kind):
            return words
        if lane.busy:
            return reasons.behind(one.job_id for one in self._under_way if one.lane == lane.name)
        if self._under_way.exclusive:
            return "until the restart of the client is over"
        if kind.exclusive and self._under_way:
            return "until no send or change of the account is under way"
        if words := self._backlog.why_rests(first.seq):
            return words
        cause = self._backlog.cause_of(lane)
        chat = cause if isinstance(cause, Chat) else chat_of_send(job) if job is not None else None
        if chat is not None and (words := self._under_way.why_not_send(chat, self._outside.one_send_per_chat)):
            return words
        if kind.read and self._under_way.reads >= self._most_reads:
            return "behind other reads of the account, which take at most half of MAX_IN_FLIGHT"
        if kind.through_api and self._outside.api_missing_since is not None:
            return "the bridge has not told the address of the service's API yet"
        for scope in scopes_of(job) if job is not None else ("account", kind.limit, call_scope(kind.call), cause):
            if scope in self._blocked:
                return self._blocked[scope]
        if (occupied := self._under_way.occupied) >= self._account.max_in_flight:
            return f"{occupied} jobs of the account are under way, as many as MAX_IN_FLIGHT allows"
        return "the worker has as many jobs under way as CONCURRENCY allows" if self._capacity.free <= 0 else None
