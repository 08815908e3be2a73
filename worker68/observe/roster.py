"""The roster: which workers there are, and what each of them says about itself in Redis: a few numbers, no ids, no text.

In: a worker's status, every few seconds. Out: the statuses of all workers that reported lately, for ``worker68 top`` and
``check``; the keys that Redis refuses are the only names in them. Never: a decision; ownership is decided by leases alone.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Final, cast

import msgspec
import redis

from worker68.clock import utc_now
from worker68.redis_calls import redis_errors

#: Sorted set: a worker's name, and when it was last well (epoch seconds by its own clock). Read by ``worker68 health`` too.
ROSTER_KEY: Final = "worker68:workers"

#: A worker reports every five seconds. One whose last report is older than this does not do its work.
OVERDUE_SECONDS: Final = 10.0
#: A worker that has not reported for so long is gone.
REPORTED_FOR_SECONDS: Final = 60
#: A name stays on the roster for a day, so that one can see in the morning which there were.
LISTED_FOR_SECONDS: Final = 86_400


class AccountStatus(msgspec.Struct, frozen=True):
    """An account as its owner sees it. ``bridge``: why it cannot be used, null while it can.."""

    bridge: str | None
    unfinished: int
    in_flight: int
    ended_per_minute: float
    endings: dict[str, int]


class RefusedKey(msgspec.Struct, frozen=True):
    """A key that Redis refuses for good. ``what``: ``reply``, ``result``, ``event``, ...; ``problem``: Redis's words."""

    key: str
    what: str
    problem: str
    count: int


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker. ``problem``: what its own look at itself found, null while it is well."""

    worker: str
    pid: int
    started_at: dt.datetime
    told_at: dt.datetime
    problem: str | None
    front: bool
    accounts: dict[str, AccountStatus]
    refused: list[RefusedKey] = []

    @property
    def silence(self) -> str | None:
        """Why this may be true no more: in words that the report is overdue, by the clock of the reader's host."""
        seconds = (utc_now() - self.told_at).total_seconds()
        return f"its last report is {seconds:.0f} s old" if seconds > OVERDUE_SECONDS else None


def status_key(worker: str) -> str:
    return f"worker68:worker:{worker}"


class Roster:
    """Writes and reads statuses. Raises ``RedisAway``. Thread-safe as the client is."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def report(self, status: WorkerStatus) -> None:
        now = status.told_at.timestamp()
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.set(status_key(status.worker), msgspec.json.encode(status), ex=REPORTED_FOR_SECONDS)
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
        """Return the last status of each worker, by its name; without those of versions that report other things."""
        with redis_errors():
            names = cast("list[bytes]", self._client.zrange(ROSTER_KEY, 0, -1))
            keys = [status_key(name.decode()) for name in sorted(names)]
            reports = cast("list[bytes | None]", self._client.mget(keys)) if keys else []
        statuses = []
        for report in reports:
            if report is not None:
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    statuses.append(msgspec.json.decode(report, type=WorkerStatus))
        return statuses
