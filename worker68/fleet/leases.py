"""Leases in Redis: which worker owns an account, or the front door, and until when.

In: the name of a lease. Out: a ``Lease`` with a fencing number, which is greater than that of every earlier owner. Never: a
thread, a decision about who should own what, a lease that looks held after Redis may have given it to another.
"""

from __future__ import annotations

from typing import Final

import redis

from worker68.clock import boottime
from worker68.redis_calls import LuaScript

#: The lease of the front door (contract, section 1). Those of accounts bear a colon, so no account can be taken for it.
FRONT: Final = "front"

_ACCOUNT_PREFIX: Final = "account:"


def account_lease(account: str) -> str:
    """Return the name of the lease of an account."""
    return f"{_ACCOUNT_PREFIX}{account}"


def lease_key(name: str) -> str:
    """Return the key whose value is ``<worker id>|<fencing number>`` while somebody holds the lease."""
    return f"worker68:lease:{name}"


def fence_key(name: str) -> str:
    """Return the key of the last fencing number that was given out."""
    return f"worker68:fence:{name}"


class Lease:
    """One ownership, from ``acquire`` until it is lost or released; then it never comes back. Read by any thread.

    ``value`` is what Redis holds under ``lease_key(name)`` while the lease is ours, for scripts that compare it.
    ``valid_until`` is a CLOCK_BOOTTIME, reckoned from before the call to Redis, so it ends before Redis ends it.
    """

    __slots__ = ("fence", "name", "valid_until", "value")

    def __init__(self, name: str, worker_id: str, fence: int, valid_until: float) -> None:
        self.name = name
        self.fence = fence
        self.value = f"{worker_id}|{fence}"
        self.valid_until = valid_until

    @property
    def account(self) -> str | None:
        """The account that the lease is about; None for the front door."""
        return self.name.removeprefix(_ACCOUNT_PREFIX) if self.name.startswith(_ACCOUNT_PREFIX) else None

    @property
    def held(self) -> bool:
        """Whether it is certainly ours now. Look at it just before bytes leave."""
        return boottime() < self.valid_until

    def __repr__(self) -> str:
        return f"Lease({self.name!r}, {self.value!r}, held={self.held})"


class Leases:
    """Acquires, renews and releases leases for one worker. Each call is one atomic step in Redis, or raises ``RedisAway``.

    ``worker_id`` is one process's own and never used again. The client should give up well within ``ttl_seconds``. Thread-safe,
    but one lease is renewed and released by one thread.
    """

    def __init__(self, client: redis.Redis, worker_id: str, ttl_seconds: float) -> None:
        self.ttl_seconds = ttl_seconds
        self._worker_id = worker_id
        self._ttl_milliseconds = round(ttl_seconds * 1000)
        self._acquire = LuaScript(client, __package__, "lease_acquire.lua")
        self._renew = LuaScript(client, __package__, "lease_renew.lua")
        self._release = LuaScript(client, __package__, "lease_release.lua")

    def acquire(self, name: str) -> Lease | None:
        """Return the lease if nobody held it, also not this worker.

        After ``RedisAway`` it may have been taken all the same; then it is free again when its time is over.
        """
        sent_at = boottime()
        fence = self._acquire.run([lease_key(name), fence_key(name)], [self._worker_id, self._ttl_milliseconds])
        if fence is None:
            return None
        return Lease(name, self._worker_id, int(fence), sent_at + self.ttl_seconds)

    def renew(self, lease: Lease) -> bool:
        """Put off the lease's end by the full time; return whether it is still ours. What has lapsed is not revived."""
        sent_at = boottime()
        if sent_at < lease.valid_until and self._renew.run(
            [lease_key(lease.name)], [lease.value, self._ttl_milliseconds]
        ):
            lease.valid_until = sent_at + self.ttl_seconds
            return True
        lease.valid_until = 0.0
        return False

    def release(self, lease: Lease) -> None:
        """Give the lease back. It is not held from the first moment of this call, also if Redis turns out to be away."""
        lease.valid_until = 0.0
        self._release.run([lease_key(lease.name)], [lease.value])
