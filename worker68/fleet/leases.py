"""Leases in Redis: which worker owns an account, or the front door, and until when.

In: names of leases. Out: each a ``Lease`` with a fencing number, which is greater than that of every earlier owner. Never: a
thread, a decision about who should own what, a lease that looks held after Redis may have given it to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from redis.exceptions import ResponseError

from worker68.clock import boottime
from worker68.redis_calls import LuaScript, caught_error, not_now

log = structlog.get_logger(__name__)

#: Which promotion of a replica to the master was seen last, and when.
PROMOTION_KEY: Final = "worker68:promotion"

#: The lease of the front door (contract, section 1). Those of accounts bear a colon, so no account can be taken for it.
FRONT: Final = "front"

_ACCOUNT_PREFIX: Final = "account:"


def account_lease(account: str) -> str:
    """Return the name of the lease of an account."""
    return f"{_ACCOUNT_PREFIX}{account}"


def lease_key(name: str) -> str:
    """Return the key whose value is ``<worker id>|<fencing number>`` while a worker holds the lease."""
    return f"worker68:lease:{name}"


def fence_key(name: str) -> str:
    """Return the key of the last fencing number that was given out."""
    return f"worker68:fence:{name}"


def read_owners(client: redis.Redis, names: Sequence[str]) -> dict[str, str]:
    """Return for each of these leases that a worker holds now the worker's name."""
    values: Any = client.mget([lease_key(name) for name in names]) if names else ()
    return {name: value.decode().rpartition("|")[0] for name, value in zip(names, values, strict=True) if value}


class Lease:
    """One ownership, from ``acquire`` until it is lost or released; then it never comes back. Changed on the loop, read anywhere.

    ``account`` is None for the front door. ``value`` is what Redis holds under ``lease_key(name)`` while the lease is ours, for
    scripts that compare it. ``valid_until`` is a CLOCK_BOOTTIME, reckoned from before the call to Redis, so it ends before
    Redis ends it. ``leave_by``: when the lease is given up at the latest (CLOCK_BOOTTIME), and None while it is to be kept.
    """

    __slots__ = ("account", "fence", "leave_by", "name", "valid_until", "value", "worker_id")

    def __init__(self, name: str, worker_id: str, fence: int, valid_until: float) -> None:
        self.name = name
        self.account = name.removeprefix(_ACCOUNT_PREFIX) if name.startswith(_ACCOUNT_PREFIX) else None
        self.worker_id = worker_id
        self.fence = fence
        self.value = f"{worker_id}|{fence}"
        self.valid_until = valid_until
        self.leave_by: float | None = None

    @property
    def held(self) -> bool:
        """Whether it is certainly ours now. Look at it just before bytes leave."""
        return boottime() < self.valid_until

    @property
    def leaving(self) -> bool:
        """Whether it is about to be given up: nothing new begins under it."""
        return self.leave_by is not None

    def end(self) -> None:
        """It is not held any more, from now on."""
        self.valid_until = 0.0

    def __repr__(self) -> str:
        return f"Lease({self.name!r}, {self.value!r}, held={self.held})"


@dataclass(frozen=True)
class Acquired:
    """What became of a call for free leases: ``problems`` says by name why Redis refuses a key for good."""

    leases: Sequence[Lease]
    problems: dict[str, ResponseError]


@dataclass(frozen=True)
class Renewed:
    """What Redis said of leases: ``ours`` by the time of the call, and held until ``valid_until`` if they have not lapsed since."""

    ours: frozenset[Lease]
    valid_until: float

    def apply(self, lease: Lease) -> bool:
        """Put off the lease's end by the full time; return whether it is still ours. What has lapsed is not revived."""
        if lease in self.ours and lease.held:
            lease.valid_until = self.valid_until
            return True
        lease.end()
        return False


class Leases:
    """Acquires, renews and releases leases for one worker, many at a time.

    Each call is one atomic step in Redis, or raises ``RedisAway``. It waits for Redis, so it runs in the pool; it changes no lease.
    ``worker_id`` is one process's own and never used again. The client should give up well within ``ttl_seconds``.
    """

    def __init__(self, client: redis.Redis, worker_id: str, ttl_seconds: float) -> None:
        self.ttl_seconds = ttl_seconds
        self.worker_id = worker_id
        self._ttl_milliseconds = round(ttl_seconds * 1000)
        self._acquire = LuaScript(client, __package__, "lease_acquire.lua")
        self._renew = LuaScript(client, __package__, "lease_renew.lua")
        self._release = LuaScript(client, __package__, "lease_release.lua")

    def acquire(self, names: Sequence[str], most: int | None = None) -> Acquired:
        """Take those of these leases that no worker held, also not this one; at most so many.

        None in the ``LEASE_TTL`` after a failover: their old owners may still trust them. After ``RedisAway`` any may have been
        taken all the same; then it is free again when its time is over.
        """
        sent_at = boottime()
        keys = [PROMOTION_KEY, *(key for name in names for key in (lease_key(name), fence_key(name)))]
        most = len(names) if most is None else most
        seen, *answers = self._acquire.run(keys, [self.worker_id, self._ttl_milliseconds, most])
        if seen:
            log.warning(
                "redis_failed_over", remedy="none: free leases wait for one LEASE_TTL", seconds=self.ttl_seconds
            )
        leases: list[Lease] = []
        problems: dict[str, ResponseError] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, int):
                leases.append(Lease(name, self.worker_id, answer, sent_at + self.ttl_seconds))
            elif answer is not None:
                problems[name] = caught_error(answer)
                if (later := not_now(problems[name])) is not None:
                    raise later
        return Acquired(leases, problems)

    def renew(self, leases: Sequence[Lease]) -> Renewed:
        """Put off the end of these leases in Redis; ``Renewed.apply`` then does so here."""
        sent_at = boottime()
        asked = [lease for lease in leases if sent_at < lease.valid_until]
        if not asked:
            return Renewed(frozenset(), 0.0)
        values = [lease.value for lease in asked]
        answers = self._renew.run([lease_key(lease.name) for lease in asked], [self._ttl_milliseconds, *values])
        ours = frozenset(lease for lease, renewed in zip(asked, answers, strict=True) if renewed)
        return Renewed(ours, sent_at + self.ttl_seconds)

    def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back. They must have ended here before: another worker may take them at once."""
        self._release.run([lease_key(lease.name) for lease in leases], [lease.value for lease in leases])
