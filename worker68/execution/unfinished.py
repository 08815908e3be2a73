"""Which accounts of this worker have had unfinished jobs in SQL for a while, asked for all of them in one statement.

In: the names of the accounts. Out: whether the sweep of one has anything to look at. What comes and ends between two questions has
not been missed by memory. Never: a question for each account.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection

from worker68.clock import monotonic
from worker68.store import waiting
from worker68.store.engine import Engine

#: An answer serves the sweeps of so many seconds, and counts the jobs that were there at the question before.
ASK_SECONDS = 15.0


class Unfinished:
    """Used by one coroutine. ``accounts``: all that this worker may own."""

    def __init__(self, engine: Engine, accounts: Collection[str]) -> None:
        self._engine = engine
        self._accounts = accounts
        self._asked_at = -math.inf
        self._newest = 0  # job at the last question
        self._found: set[str] = set()

    async def has(self, account: str) -> bool:
        """Whether SQL has had unfinished jobs of this account from one question to the next. Raises ``DatabaseAway``."""
        if monotonic() - self._asked_at >= ASK_SECONDS:
            self._found, self._newest = await asyncio.to_thread(self._ask)
            self._asked_at = monotonic()
        return account in self._found

    def _ask(self) -> tuple[set[str], int]:
        found = waiting.find_unfinished(self._engine, self._accounts, self._newest)
        return found, waiting.newest_seq(self._engine)
