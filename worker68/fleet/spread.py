"""The spread: how many accounts each live worker should hold, from how many each holds now. Pure.

In: how many accounts there are of each label, and the live workers with weights, labels and what they hold. Out: how many of each
label each worker should hold: as even as the labels permit, in proportion to the weights, with as few moves as that takes.
Every worker computes the same from the same counts. Never: the name of an account, a clock, Redis.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

#: The label of accounts without one. Every worker serves them.
UNLABELLED: Final = ""

#: By worker, then by label.
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Member:
    """A live worker. ``held``: how many accounts of each cohort it holds, without those that it is about to give up.

    A cohort is a label, or one of accounts that only workers with this ``digest`` know (``cohort_of``).
    """

    worker: str
    weight: int = 1
    labels: frozenset[str] = frozenset()
    held: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""

    def serves(self, cohort: str) -> bool:
        digest, _, label = cohort.rpartition("/")
        return (not digest or digest == self.digest) and (label == UNLABELLED or label in self.labels)


def cohort_of(digest: str, label: str) -> str:
    """Return the cohort of accounts with this label that only those know who know the list with this digest."""
    return f"{digest}/{label}"


def label_of(cohort: str) -> str:
    """Return the label of a cohort."""
    return cohort.rpartition("/")[2]


@dataclass(frozen=True)
class _Move:
    """One account of ``label`` goes from one worker to another."""

    label: str
    giver: str
    taker: str


def spread(accounts: Mapping[str, int], members: Sequence[Member]) -> Counts:
    """Return how many accounts of each label each member should hold. Those of a label that no member serves are left out.

    A count may be of another moment than the next one. Where together they are more than there are, nothing is taken from anyone
    for that.
    """
    table = _Table(members)
    for member in members:
        table.counts[member.worker] = {label: member.held.get(label, 0) for label in accounts if member.serves(label)}
    for label in sorted(accounts, reverse=True):  # those that all serve come last, and fill up
        table.hand_out(label, accounts[label] - sum(held.get(label, 0) for held in table.counts.values()))
    table.level()
    return table.counts


class _Table:
    """Counts that change until they are even.

    A worker that holds ``n`` accounts gives one to another that holds ``m`` where ``(2n - 1) / its weight`` is greater than
    ``(2m + 1) / the other's weight`` (Webster's method): among equals, where it holds two more. Each such step brings the counts
    nearer to the weights, so the steps end.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = {member.worker: member for member in sorted(members, key=lambda member: member.worker)}
        self.counts: Counts = {}
        self._givers: list[tuple[float, str]] = []  # the one that gives first in front
        self._takers: list[tuple[float, str]] = []

    def hand_out(self, label: str, free: int) -> None:
        """Give each of so many free accounts to the worker that has the least to do."""
        queue = [(self._taking(name), name) for name, member in self._members.items() if member.serves(label)]
        heapq.heapify(queue)
        for _ in range(free if queue else 0):
            name = queue[0][1]
            self.counts[name][label] += 1
            heapq.heapreplace(queue, (self._taking(name), name))

    def level(self) -> None:
        """Move accounts one by one until nothing gets better."""
        for name in self._members:
            self._queue(name)
        while moves := self._next_moves():
            for move in moves:
                self.counts[move.giver][move.label] -= 1
                self.counts[move.taker][move.label] += 1
            for name in (moves[0].taker, moves[-1].giver):  # of a chain the ends; between them as many come as go
                self._queue(name)

    def _queue(self, name: str) -> None:
        """A worker's count has changed; its older entries in the two queues count no more."""
        heapq.heappush(self._givers, (-self._giving(name), name))
        heapq.heappush(self._takers, (self._taking(name), name))

    def _next_moves(self) -> list[_Move]:
        """Return the moves that make the counts more even: one, or a chain where labels keep the two from a direct one."""
        if not self._members:
            return []
        giver = _first(self._givers, lambda name: -self._giving(name))
        taker = _first(self._takers, self._taking)
        if self._giving(giver) <= self._taking(taker):
            return []
        for label in sorted(label for label, count in self.counts[giver].items() if count):
            if self._members[taker].serves(label):
                return [_Move(label, giver, taker)]
        return self._search_moves(self._taking(taker))

    def _search_moves(self, least: float) -> list[_Move]:
        """Look at the workers one by one, and at all ways from each: what they hold keeps the first giver from the first taker."""
        for name in sorted(self._members, key=self._giving, reverse=True):
            if self._giving(name) <= least:
                break
            reached = self._reach(name)
            best = min(reached, key=lambda other: (self._taking(other), other), default=name)
            if self._taking(best) < self._giving(name):
                return _chain(reached, name, best)
        return []

    def _reach(self, start: str) -> dict[str, _Move]:
        """Return the workers that an account of this one can go to, also if another account moves on from there for it.

        With each goes the last move on the shortest way.
        """
        reached: dict[str, _Move] = {}
        labels = set[str]()
        givers = [start]
        for giver in givers:
            for label in sorted(label for label, count in self.counts[giver].items() if count and label not in labels):
                labels.add(label)
                for name, member in self._members.items():
                    if name != start and name not in reached and member.serves(label):
                        reached[name] = _Move(label, giver, name)
                        givers.append(name)
        return reached

    def _giving(self, name: str) -> float:
        return (2 * self._total(name) - 1) / self._members[name].weight

    def _taking(self, name: str) -> float:
        return (2 * self._total(name) + 1) / self._members[name].weight

    def _total(self, name: str) -> int:
        return sum(self.counts[name].values())


def _first(queue: list[tuple[float, str]], current: Callable[[str], float]) -> str:
    """Return the first worker of a queue whose entry still holds."""
    while queue[0][0] != current(queue[0][1]):
        heapq.heappop(queue)
    return queue[0][1]


def _chain(reached: Mapping[str, _Move], start: str, end: str) -> list[_Move]:
    moves = [reached[end]]
    while moves[-1].giver != start:
        moves.append(reached[moves[-1].giver])
    return moves
