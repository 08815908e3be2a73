"""Entries that Redis has and the database still holds, so that none of them is published a second time.

In: what was published, and what the database has deleted since. Out: which entries of a batch are done and only to be deleted. No
I/O. Never: more than ``MOST`` entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from worker68.store.statements.outbox import OutboxEntry

#: Some batches: beyond it are those of accounts that another worker owns by now, which deletes them.
MOST: Final = 2000


class Undeleted:
    """By table and id: an entry that was refused before stands in another table than one that is new."""

    def __init__(self) -> None:
        self._entries: dict[tuple[bool, int], OutboxEntry] = {}

    def add(self, entries: Iterable[OutboxEntry]) -> None:
        """Remember what Redis has taken."""
        self._entries.update((_place(entry), entry) for entry in entries)
        for place in list(islice(self._entries, max(0, len(self._entries) - MOST))):
            del self._entries[place]

    def forget(self, entries: Iterable[OutboxEntry]) -> None:
        """Forget what the database has deleted."""
        for entry in entries:
            self._entries.pop(_place(entry), None)

    def find_done(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Return those that Redis has, and results of whose Celery id it has a later one: they would overwrite it."""
        latest: dict[str, int] = {}
        for one in self._entries.values():
            if one.kind == "result" and not one.refusals:
                latest[one.address] = max(one.id, latest.get(one.address, 0))

        def is_outdated(entry: OutboxEntry) -> bool:
            # What was refused came before all that is in the outbox now.
            number = 0 if entry.refusals else entry.id
            return entry.kind == "result" and latest.get(entry.address, 0) > number

        return [one for one in entries if self._entries.get(_place(one)) == one or is_outdated(one)]


def _place(entry: OutboxEntry) -> tuple[bool, int]:
    return entry.refusals > 0, entry.id
