"""The jobs of one account that are under way, and what the next ones must respect of them, counted as they come and go.

In: jobs as they start and end. Out: how many there are, in the account and in the worker, of which kinds, and to which chats.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

from worker68.execution import reasons
from worker68.execution.lanes import chat_of_send, is_read
from worker68.jobs.fields import Chat
from worker68.jobs.job import Job

#: So many accounts load lanes, and so many snapshots are committed, at the same time: each takes a thread of the pool, and a
#: connection to the database. The connections that are left are for what every job needs.
LOADS_AT_ONCE: Final = 4
SNAPSHOTS_AT_ONCE: Final = 3


class Capacity:
    """How many jobs may be under way in this worker at once, and how many are. On the loop.

    ``loads``, ``snapshots``: the right to load lanes, and to commit a snapshot.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.occupied = 0
        self.loads = asyncio.Semaphore(LOADS_AT_ONCE)
        self.snapshots = asyncio.Semaphore(SNAPSHOTS_AT_ONCE)

    @property
    def free(self) -> int:
        """How many more jobs may begin."""
        return self.concurrency - self.occupied


class UnderWay:
    """Jobs by their numbers; they take of the worker's ``capacity``. ``reads``: how many are reads; ``exclusive``: how many let
    nothing run beside them.

    ``occupied``: how many take room: all but those that wait only for their end to be written down.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._jobs: dict[int, Job] = {}
        self._sends: Counter[Chat] = Counter()
        self._ending: set[int] = set()
        self._sends_before: set[int] | None = None  # while new sends go one at a time: those from before that
        self.reads = 0
        self.exclusive = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __contains__(self, seq: int) -> bool:
        return seq in self._jobs

    @property
    def occupied(self) -> int:
        return len(self._jobs) - len(self._ending)

    @property
    def one_send(self) -> bool:
        """Whether new sends go one at a time."""
        return self._sends_before is not None

    def limit_sends(self, one_send: bool) -> None:
        """Say whether new sends go one at a time from now on. Those that are under way when that begins hold nothing up."""
        if not one_send:
            self._sends_before = None
        elif self._sends_before is None:
            self._sends_before = {job.seq for job in self if chat_of_send(job) is not None}

    @property
    def holds_sends(self) -> bool:
        """Whether a send is under way beside which none may start, while new ones go one at a time."""
        return self._sends_before is not None and self._sends.total() > len(self._sends_before)

    def has_send_to(self, chat: Chat) -> bool:
        return self._sends[chat] > 0

    def why_not_send(self, chat: Chat, one_each_chat: bool) -> str | None:
        """Say in words which sends under way keep one to this chat waiting; None where none does."""
        if one_each_chat and self._sends[chat] > 0:
            rivals = [one.job_id for one in self if chat_of_send(one) == chat]
            return f"{reasons.behind(rivals)}; this bridge's verdicts can only be tied by the chat"
        if self._sends_before is None:
            return None
        new = [one.job_id for one in self if chat_of_send(one) is not None and one.seq not in self._sends_before]
        return f"{reasons.behind(new)}; {reasons.ONE_SEND}" if new else None

    def add(self, job: Job) -> None:
        """A job is under way from now on."""
        self._capacity.occupied += 1
        self._jobs[job.seq] = job
        self._count(job, 1)

    def pop(self, seq: int) -> Job | None:
        """Take a job out, and return it as it was when it came: its next step may be of another kind."""
        job = self._jobs.pop(seq, None)
        if job is not None:
            self._capacity.occupied -= seq not in self._ending
            self._ending.discard(seq)
            self._count(job, -1)
            if self._sends_before is not None:
                self._sends_before.discard(seq)
        return job

    def make_room(self, seq: int) -> None:
        """Only the end of the job is still to be written down."""
        if seq in self._jobs and seq not in self._ending:
            self._ending.add(seq)
            self._capacity.occupied -= 1

    def _count(self, job: Job, by: int) -> None:
        self.reads += by * is_read(job)
        self.exclusive += by * job.exclusive
        if (chat := chat_of_send(job)) is not None:
            self._sends[chat] += by
            if not self._sends[chat]:
                del self._sends[chat]
