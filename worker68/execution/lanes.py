"""The heads of lanes in memory, and which of them may start beside what is under way.

In: lanes in the order of their turn; the jobs under way. Out: those lanes whose first job nothing else of the account keeps
waiting. Never: limits, a lock, a clock.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from worker68.jobs.fields import Chat
from worker68.jobs.job import Job
from worker68.jobs.task import Nature


@dataclass
class Lane:
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

    def enter(self, job: Job, depth: int) -> Job | None:
        """Let a job take its place; return the one that SQL alone holds then, so that no more than ``depth`` are in memory."""
        if self.more and (not self.jobs or _place(job) > _place(self.jobs[-1])):
            return job
        self.insert(job)
        if len(self.jobs) <= depth:
            return None
        self.more = True
        return self.jobs.pop()

    def bring_forward(self, rests: Callable[[Job], bool]) -> Job | None:
        """Without order no job waits for one that rests: let the first that does not be the head, and return it, if any."""
        for place, job in enumerate(self.jobs):
            if not rests(job):
                self.jobs.insert(0, self.jobs.pop(place))
                return job
        return None

    def insert(self, job: Job) -> None:
        bisect.insort(self.jobs, job, key=_place)


def _place(job: Job) -> tuple[int, int, int]:
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


def leave_room_beside_reads(lanes: list[Lane], room: int) -> list[Lane]:
    """Leave out reads beyond their room: a long list is read for minutes, and sends and moderation must find a place."""
    too_many = {lane.name for lane in [lane for lane in lanes if is_read(lane.jobs[0])][max(0, room) :]}
    return [lane for lane in lanes if lane.name not in too_many] if too_many else lanes


def heed_exclusive(lanes: list[Lane], exclusive_runs: bool, change_runs: bool) -> list[Lane]:
    """Leave out what may not start because of an exclusive job: it waits until no send or change is under way.

    Reads may be under way: what breaks off is read again.
    """
    if exclusive_runs:
        return []
    for place, lane in enumerate(lanes):
        if lane.jobs[0].exclusive:
            if place > 0:
                return lanes[:place]
            return [] if change_runs else [lane]
    return lanes


def limit_sends(lanes: list[Lane], one_each_chat: bool, one_in_all: bool) -> list[Lane]:
    """Leave out lanes that would start a send too many: its ordered and its unordered jobs give a chat two lanes."""
    chats: set[Chat] = set()
    chosen = []
    for lane in lanes:
        chat = chat_of_send(lane.jobs[0])
        if chat is None or not ((one_each_chat and chat in chats) or (one_in_all and chats)):
            chosen.append(lane)
            chats |= {chat} if chat else set()
    return chosen
