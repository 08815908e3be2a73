"""The share of this worker: how many accounts of each label it should hold, as it sees the fleet in Redis.

In: which accounts there are, this worker's weight and labels, what it holds now. Out: numbers, and the same said to the others.
What it costs grows with what has changed since the last look. Never: a lease, a lock, a coordinator.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from worker68.clock import monotonic
from worker68.fleet.members import Members, Word
from worker68.fleet.spread import Member, spread


@dataclass(frozen=True)
class Standing:
    """What this worker is in the fleet: how much it takes in proportion to the others, and which labels it serves."""

    weight: int = 1
    labels: frozenset[str] = frozenset()


class Shares:
    """Reports what this worker holds, and says what it should hold. Each call waits for Redis, or raises ``RedisAway``.

    ``labels``: each account's label, by the name of its lease; None for what belongs to no share. Workers whose settings name
    other accounts are left out: what they hold says nothing about ours.
    """

    def __init__(self, members: Members, labels: Mapping[str, str | None], standing: Standing | None = None) -> None:
        self._members = members
        self._standing = standing or Standing()
        accounts = sorted((name, label) for name, label in labels.items() if label is not None)
        self._sizes = Counter(label for _, label in accounts)
        self._digest = hashlib.sha256(repr(accounts).encode()).hexdigest()[:16]
        self._computed_from: Mapping[str, Word] | None = None
        self._share: Mapping[str, int] = {}
        self._free: Mapping[str, int] = {}
        self._free_since: dict[str, float] = {}
        self._looked_at: float | None = None

    def look(self, held: Mapping[str, int]) -> dict[str, int]:
        """Say how many accounts of each label this worker keeps; return how many it should hold.

        After an absence of Redis in which all were forgotten this worker may be the first to come back: so the first look changes
        nothing.
        """
        word = Word(self._digest, self._standing.weight, sorted(self._standing.labels), dict(held))
        self._members.look(word, anew=self._was_absent())
        if self._members.words is not self._computed_from:
            self._compute()
        absent, self._looked_at = self._was_absent(), monotonic()
        if absent:
            return {label: held.get(label, 0) for label in self._share}
        return {label: self._with_left_over(label, count, held.get(label, 0)) for label, count in self._share.items()}

    def leave(self) -> None:
        """Take no part any more: the others share what this worker is about to give up."""
        self._members.leave()

    def _was_absent(self) -> bool:
        return self._looked_at is not None and monotonic() - self._looked_at > self._members.ttl_seconds

    def _compute(self) -> None:
        """Compute the share, and how many accounts no worker holds, anew."""
        fleet = [
            Member(worker, word.weight, frozenset(word.labels), word.held)
            for worker, word in self._members.words.items()
            if word.accounts == self._digest
        ]
        self._share = spread(self._sizes, fleet)[self._members.worker_id]
        self._free = {
            label: self._sizes[label] - sum(member.held.get(label, 0) for member in fleet) for label in self._share
        }
        self._computed_from = self._members.words

    def _with_left_over(self, label: str, count: int, held: int) -> int:
        free = self._free[label]
        return max(count, held + free) if self._is_left_over(label, free) else count

    def _is_left_over(self, label: str, free: int) -> bool:
        """Whether accounts have been free for so long that whose share they are does not take them. Then any worker may, once."""
        if free <= 0:
            self._free_since.pop(label, None)
            return False
        since = self._free_since.setdefault(label, monotonic())
        if monotonic() - since < self._members.ttl_seconds:
            return False
        del self._free_since[label]
        return True
