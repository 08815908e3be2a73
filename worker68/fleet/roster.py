"""The roster: which workers there are, and what each of them says about itself.

In: a worker's status, every few seconds. Out: the statuses of all workers that told theirs lately. Never: a decision; ownership is
decided by leases alone.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec
import redis

from worker68.observe.status import WorkerStatus
from worker68.redis_calls import redis_errors

#: Sorted set: a worker's name, and when it was last well (epoch seconds by its own clock). Read by ``worker68 health`` too.
ROSTER_KEY: Final = "worker68:workers"

#: A worker that has not told anything for so long is gone.
TOLD_FOR_SECONDS: Final = 60
#: A name stays on the roster for a day, for whoever asks in the morning who was there.
LISTED_FOR_SECONDS: Final = 86_400


def status_key(worker: str) -> str:
    return f"worker68:worker:{worker}"


class Roster:
    """Tells and reads. Raises ``RedisAway``. Thread-safe as the client is."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def tell(self, status: WorkerStatus) -> None:
        now = status.told_at.timestamp()
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.set(status_key(status.worker), msgspec.json.encode(status), ex=TOLD_FOR_SECONDS)
            if status.problem is None:
                pipe.zadd(ROSTER_KEY, {status.worker: now})
            pipe.zremrangebyscore(ROSTER_KEY, "-inf", now - LISTED_FOR_SECONDS)
            pipe.execute()

    def leave(self, worker: str) -> None:
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.delete(status_key(worker))
            pipe.zrem(ROSTER_KEY, worker)
            pipe.execute()

    def read(self) -> list[WorkerStatus]:
        """Return what the workers told last, by their names."""
        with redis_errors():
            names = cast("list[bytes]", self._client.zrange(ROSTER_KEY, 0, -1))
            keys = [status_key(name.decode()) for name in sorted(names)]
            told = cast("list[bytes | None]", self._client.mget(keys)) if keys else []
        return [msgspec.json.decode(status, type=WorkerStatus) for status in told if status is not None]
