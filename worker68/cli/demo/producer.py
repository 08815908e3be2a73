"""The demo's producer: a plain Celery application that knows a Redis URL and the contract, and nothing of worker68's code.

In: jobs. Out: their replies, in the order in which they come, from the reply list.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from celery import Celery
from redis import Redis

from worker68.cli.demo.jobs import REPLY_TO, DemoJob
from worker68.clock import Deadline, monotonic

#: Between two looks whether the worker still lives, where no reply comes.
LOOK_SECONDS: Final = 0.25


@dataclass(frozen=True)
class Ending:
    """A job that has ended; ``waited`` is in seconds, from the producer's call to the reply."""

    job: DemoJob
    reply: dict[str, Any]
    waited: float

    @property
    def as_expected(self) -> bool:
        return self.job.is_met_by(self.reply)


class DemoProducer:
    """Sends and listens; ``with`` closes its connections."""

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("demo", broker=redis_url, set_as_current=False)
        self._redis = Redis.from_url(redis_url, protocol=2)
        #: By their Celery ids, with when they were sent (monotonic seconds).
        self._under_way: dict[str, tuple[DemoJob, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._celery.close()
        self._redis.close()

    @property
    def under_way(self) -> list[DemoJob]:
        """The jobs that were sent and have no reply yet."""
        return [job for job, _ in self._under_way.values()]

    def worker_hears(self) -> bool:
        """Say whether a worker answers to Celery's remote control."""
        return bool(self._celery.control.ping(timeout=LOOK_SECONDS, limit=1))

    def send(self, jobs: Iterable[DemoJob]) -> None:
        """Send all jobs, then revoke those that are to be revoked."""
        revoked = []
        for job in jobs:
            task_id: str = self._celery.send_task(job.task, kwargs=job.kwargs, queue="worker68.main").id
            self._under_way[task_id] = (job, monotonic())
            if job.revoke:
                revoked.append(task_id)
        if revoked:
            self._celery.control.revoke(revoked)

    def await_endings(self, deadline: Deadline, look: Callable[[], None]) -> Iterator[Ending]:
        """Yield the end of each job under way as its reply comes, until there is none or the deadline has passed.

        ``look`` is called between the replies, and while none comes.
        """
        while self._under_way and not deadline.passed:
            look()
            taken: Any = self._redis.blpop([f"worker68:replies:{REPLY_TO}"], timeout=LOOK_SECONDS)
            if taken is None:
                continue
            reply = json.loads(taken[1])
            if (sent := self._under_way.pop(reply["task_id"], None)) is not None:
                yield Ending(sent[0], reply, monotonic() - sent[1])
