"""The jobs of one account that have their turn, and what others must heed of them, counted as they come and go.

In: jobs as they start and end. Out: how many there are, of which kinds, and to which chats. Never: a lock; its user has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from worker68.execution.lanes import chat_of_send, is_read
from worker68.jobs.fields import Chat
from worker68.jobs.job import Job


class UnderWay:
    """Jobs by their numbers. ``reads``: how many are reads; ``exclusive``: how many let nothing run beside them.

    ``occupied``: how many take room: all but those that wait only for their end to be written down.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._sends: Counter[Chat] = Counter()
        self._ending: set[int] = set()
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

    def sends_to(self, chat: Chat | None) -> bool:
        """Whether a send to this chat is under way."""
        return chat is not None and self._sends[chat] > 0

    def add(self, job: Job) -> None:
        self._jobs[job.seq] = job
        self._count(job, 1)

    def pop(self, seq: int) -> Job | None:
        """Take a job out, and return it as it was when it came: its next step may be of another kind."""
        job = self._jobs.pop(seq, None)
        self._ending.discard(seq)
        if job is not None:
            self._count(job, -1)
        return job

    def make_room(self, seq: int) -> None:
        """Only the end of the job is still to be written down."""
        if seq in self._jobs:
            self._ending.add(seq)

    def _count(self, job: Job, by: int) -> None:
        self.reads += by * is_read(job)
        self.exclusive += by * job.exclusive
        if (chat := chat_of_send(job)) is not None:
            self._sends[chat] += by
            if not self._sends[chat]:
                del self._sends[chat]
