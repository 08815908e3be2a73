"""The shares of this worker: which accounts it may hold, and how many of them it should, as it sees the fleet in Redis.

In: which accounts there are, this worker's weight and labels, what it holds now. Out: numbers, and the same said to the others.
What all workers know is shared by all; what only some know, as during a deploy, each shares with those that know the same as it.
What it costs grows with what has changed since the last look. Never: a lease, a lock, a coordinator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from worker68.clock import monotonic
from worker68.fleet.catalogues import Catalogues
from worker68.fleet.cohorts import NOTHING, Cohorts, catalogue_of
from worker68.fleet.members import Members, Word
from worker68.fleet.spread import Member, label_of, spread


@dataclass(frozen=True)
class Standing:
    """What this worker is in the fleet: how much it takes in proportion to the others, and which labels it serves."""

    weight: int = 1
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Share:
    """``most`` of these leases, which are alike for the spread, should be this worker's."""

    names: Collection[str]
    most: int


@dataclass(frozen=True)
class _Computed:
    """What follows from ``words``, until then at the latest: this worker's share by cohort, and how many no worker holds."""

    words: Mapping[str, Word]
    until: float
    share: Mapping[str, int]
    free: Mapping[str, int]


class Shares:
    """Reports what this worker holds, and says what it should hold. Each call waits for Redis, or raises ``RedisAway``."""

    def __init__(self, members: Members, catalogues: Catalogues, standing: Standing | None = None) -> None:
        self._members = members
        self._catalogues = catalogues
        self._standing = standing or Standing()
        self._labels: Mapping[str, str | None] | None = None
        self._cohorts = Cohorts(NOTHING, [NOTHING])
        self._computed: _Computed | None = None
        self._free_since: dict[str, float] = {}
        self._looked_at: float | None = None

    def look(self, labels: Mapping[str, str | None], held: Collection[str]) -> list[Share]:
        """Say which leases of accounts this worker keeps; return what it should hold.

        ``labels``: each account's label, by the name of its lease; None for what belongs to no share. After an absence of Redis in
        which all were forgotten this worker may be the first to come back: so the first look changes nothing.
        """
        if labels is not self._labels:
            mine = catalogue_of(labels)
            self._cohorts = Cohorts(mine, [mine])
            self._labels, self._computed = labels, None
        self._catalogues.publish(self._cohorts.mine)
        weight, served = self._standing.weight, sorted(self._standing.labels)
        word = Word(self._cohorts.mine.digest, weight, served, self._cohorts.count(held))
        self._members.look(word, anew=self._was_absent())
        computed = self._compute(held)
        absent, self._looked_at = self._was_absent(), monotonic()
        keeps = self._cohorts.count(held)
        shares = []
        for cohort, most in computed.share.items():
            kept = keeps.get(cohort, 0)
            most = kept if absent else self._with_left_over(cohort, most, kept, computed.free[cohort])
            shares.append(Share(self._cohorts.names[cohort], most))
        return shares

    def leave(self) -> None:
        """Take no part any more: the others share what this worker is about to give up."""
        self._members.leave()

    def _was_absent(self) -> bool:
        return self._looked_at is not None and monotonic() - self._looked_at > self._members.ttl_seconds

    def _compute(self, held: Collection[str]) -> _Computed:
        """Return what follows from the words of the last look, computed anew where they have changed."""
        words = self._members.words
        if self._computed is not None and self._computed.words is words and monotonic() < self._computed.until:
            return self._computed
        found = self._catalogues.find({worker: word.accounts for worker, word in words.items()})
        if found.lists.keys() != self._cohorts.lists.keys():
            self._cohorts = Cohorts(self._cohorts.mine, found.lists.values())
        sizes, me = self._cohorts.sizes, self._members.worker_id
        keeps = {worker: _fold(word.held, sizes) for worker, word in words.items()} | {me: self._cohorts.count(held)}
        fleet = [
            Member(worker, word.weight, frozenset(word.labels), keeps[worker], found.known_by[worker])
            for worker, word in words.items()
            if worker in found.known_by
        ]
        share = spread(sizes, fleet)[me]
        share = {cohort: most for cohort, most in share.items() if cohort in self._cohorts.names}
        free = {cohort: sizes[cohort] - sum(member.held.get(cohort, 0) for member in fleet) for cohort in share}
        self._computed = _Computed(words, found.again_at, share, free)
        return self._computed

    def _with_left_over(self, cohort: str, most: int, kept: int, free: int) -> int:
        return max(most, kept + free) if self._is_left_over(cohort, free) else most

    def _is_left_over(self, cohort: str, free: int) -> bool:
        """Whether accounts have been free for so long that whose share they are does not take them. Then any worker may, once."""
        if free <= 0:
            self._free_since.pop(cohort, None)
            return False
        since = self._free_since.setdefault(cohort, monotonic())
        if monotonic() - since < self._members.ttl_seconds:
            return False
        del self._free_since[cohort]
        return True


def _fold(held: Mapping[str, int], sizes: Mapping[str, int]) -> Mapping[str, int]:
    """Return what a worker holds in the cohorts of these: it may have said so when there were others."""
    folded: Counter[str] = Counter()
    for cohort, count in held.items():
        folded[cohort if cohort in sizes else label_of(cohort)] += count
    return folded
