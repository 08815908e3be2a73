"""How full the waiting rooms of accounts are, for whoever takes in the front door: most accounts have another owner.

In: the accounts' settings; what was taken in for them. Out: those that have as many jobs waiting as they may. The count of an
account that somebody else owns is some seconds old, so a few more may come in than ``MAX_WAITING``. Never: Redis.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from worker68.clock import monotonic
from worker68.settings import AccountSettings
from worker68.store import waiting
from worker68.store.engine import Engine

#: Counting a full waiting room takes some ten milliseconds, and filling one takes longer than this.
RECOUNT_SECONDS = 10.0


@dataclass
class _Count:
    jobs: int
    counted_at: float


class Rooms:
    """The accounts of this worker's settings. Used by one thread; may raise ``DatabaseAway``."""

    def __init__(self, engine: Engine, accounts: Mapping[str, AccountSettings]) -> None:
        self._engine = engine
        self._accounts = accounts
        self._counts: dict[str, _Count] = {}

    def note_taken(self, account: str, jobs: int) -> None:
        """Take note of jobs that came in for an account of another owner."""
        if account in self._counts:
            self._counts[account].jobs += jobs

    def full(self, own: Collection[str]) -> set[str]:
        """Return the full ones among the accounts that this worker does not own."""
        return {name for name in self._accounts if name not in own and self._count(name) >= self._most(name)}

    def _most(self, name: str) -> int:
        return self._accounts[name].max_waiting

    def _count(self, name: str) -> int:
        known = self._counts.get(name)
        if known is None or monotonic() - known.counted_at >= RECOUNT_SECONDS:
            known = self._counts[name] = _Count(waiting.count_waiting(self._engine, name), monotonic())
        return known.jobs
