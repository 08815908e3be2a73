"""The share of this worker: how many accounts of each label it should hold, as it sees the fleet in Redis.

In: which accounts there are, this worker's weight and labels, what it holds now. Out: numbers, and the same said to the others.
Each look is one small step of Redis, whose answer grows with the workers, not with the accounts. Never: a lease, a lock, a
coordinator.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import redis

from worker68.clock import monotonic
from worker68.fleet.spread import Member, spread
from worker68.redis_calls import LuaScript, redis_errors

#: Hash: a worker's id, until when its word counts (milliseconds by Redis's clock), and its word as JSON.
FLEET_KEY: Final = "worker68:fleet"


@dataclass(frozen=True)
class Standing:
    """What this worker is in the fleet: how much it takes in proportion to the others, and which labels it serves."""

    weight: int = 1
    labels: frozenset[str] = frozenset()


class _Word(msgspec.Struct, frozen=True):
    """What a worker says about itself. ``accounts``: a digest of those that it knows."""

    accounts: str
    weight: int
    labels: list[str]
    held: dict[str, int]


class Shares:
    """Reports what this worker holds, and says what it should hold. Each call waits for Redis, or raises ``RedisAway``.

    ``labels``: each account's label, by the name of its lease; None for what belongs to no share. Workers whose settings name
    other accounts are left out: what they hold says nothing about ours. A worker that has not looked for ``ttl_seconds`` does not
    live any more; so long its leases last, too.
    """

    def __init__(
        self,
        client: redis.Redis,
        worker_id: str,
        ttl_seconds: float,
        labels: Mapping[str, str | None],
        standing: Standing | None = None,
    ) -> None:
        self._client = client
        self._worker_id = worker_id
        self._ttl_seconds = ttl_seconds
        self._standing = standing or Standing()
        accounts = sorted((name, label) for name, label in labels.items() if label is not None)
        self._sizes = Counter(label for _, label in accounts)
        self._digest = hashlib.sha256(repr(accounts).encode()).hexdigest()[:16]
        self._script = LuaScript(client, __package__, "fleet_look.lua")
        self._free_since: dict[str, float] = {}
        self._looked_at: float | None = None

    def look(self, held: Mapping[str, int]) -> dict[str, int]:
        """Say how many accounts of each label this worker keeps; return how many it should hold.

        After an absence of Redis in which all were forgotten this worker may be the first to come back: so the first look changes
        nothing.
        """
        members = self._exchange(held)
        share = spread(self._sizes, members)[self._worker_id]
        before, self._looked_at = self._looked_at, monotonic()
        if before is not None and self._looked_at - before > self._ttl_seconds:
            return {label: held.get(label, 0) for label in share}
        for label in share:
            free = self._sizes[label] - sum(member.held.get(label, 0) for member in members)
            if self._is_left_over(label, free):
                share[label] = max(share[label], held.get(label, 0) + free)
        return share

    def leave(self) -> None:
        """Take no part any more: the others share what this worker is about to give up."""
        with redis_errors():
            self._client.hdel(FLEET_KEY, self._worker_id)

    def _exchange(self, held: Mapping[str, int]) -> list[Member]:
        """Report this worker; return all that live and know the same accounts, this one among them."""
        weight, labels = self._standing.weight, self._standing.labels
        word = msgspec.json.encode(_Word(self._digest, weight, sorted(labels), dict(held)))
        answer = cast(
            "list[Any]", self._script.run([FLEET_KEY], [self._worker_id, round(self._ttl_seconds * 1000), word])
        )
        members = [Member(self._worker_id, weight, labels, held)]
        for worker, said in zip(answer[::2], answer[1::2], strict=True):
            other = msgspec.json.decode(said, type=_Word)
            if other.accounts == self._digest and worker.decode() != self._worker_id:
                members.append(Member(worker.decode(), other.weight, frozenset(other.labels), other.held))
        return members

    def _is_left_over(self, label: str, free: int) -> bool:
        """Whether accounts have been free for so long that whose share they are does not take them. Then any worker may, once."""
        if free <= 0:
            self._free_since.pop(label, None)
            return False
        since = self._free_since.setdefault(label, monotonic())
        if monotonic() - since < self._ttl_seconds:
            return False
        del self._free_since[label]
        return True
