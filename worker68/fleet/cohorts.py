"""Cohorts of accounts that are alike for the spread: those that all workers know, by label; the others by who knows them. Pure.

In: lists of accounts, as workers know them. Out: which accounts are in which cohort, and how many. Never: a clock, Redis.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from worker68.fleet.spread import cohort_of


@dataclass(frozen=True)
class Catalogue:
    """A list of accounts that a worker knows, by the names of their leases, each with its label."""

    accounts: frozenset[tuple[str, str]]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(self.accounts)).encode()).hexdigest()[:16]


NOTHING: Final = Catalogue(frozenset())


def catalogue_of(labels: Mapping[str, str | None]) -> Catalogue:
    """Return the list of what there is to share. ``labels``: by the name of its lease, None for what belongs to no share."""
    return Catalogue(frozenset((name, label) for name, label in labels.items() if label is not None))


class Cohorts:
    """The cohorts of one list, ``mine``, beside all ``lists``, of which it is one.

    What some of the others have in common is no cohort of its own: each that knows it shares it with those that know the same list.
    """

    def __init__(self, mine: Catalogue, lists: Collection[Catalogue]) -> None:
        self.mine = mine
        self.lists = {one.digest: one for one in (mine, *lists)}
        common = frozenset.intersection(*(one.accounts for one in self.lists.values()))
        sizes = Counter(label for _, label in common)
        for digest, one in self.lists.items():
            sizes.update(cohort_of(digest, label) for _, label in one.accounts - common)
        self.sizes: Mapping[str, int] = sizes
        self.names: dict[str, dict[str, None]] = {}
        self._cohort_by_name: dict[str, str] = {}
        for name, label in sorted(mine.accounts):
            cohort = label if (name, label) in common else cohort_of(mine.digest, label)
            self.names.setdefault(cohort, {})[name] = None
            self._cohort_by_name[name] = cohort

    def count(self, names: Collection[str]) -> dict[str, int]:
        """Return how many of these accounts there are of each cohort."""
        return dict(Counter(self._cohort_by_name[name] for name in names if name in self._cohort_by_name))
