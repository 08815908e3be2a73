"""Which accounts have had unfinished jobs in SQL for a while: a service of the loop that asks for all of them in one statement.

In: the names of the accounts that this worker owns. Out: a word for each whose sweep may find something. What comes and ends
between two questions has not been missed by memory. Never: a question for each account; a look at one without such jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from worker68.loop import Loop, Stopping
from worker68.observe import outages
from worker68.store import waiting
from worker68.store.engine import Engine

#: Between two questions; each is about the jobs that were there at the one before.
ASK_SECONDS = 15.0

_FAILED: Final = outages.Outage(
    "unfinished_not_asked", "unfinished_asked_again", "a fault in worker68: keep this line, report it", fault=True
)


class Unfinished:
    """On the loop. ``owned`` names the accounts; ``found`` is called with each that has had unfinished jobs for a while."""

    def __init__(
        self, engine: Engine, owned: Callable[[], Collection[str]], found: Callable[[str], None], loop: Loop
    ) -> None:
        self._engine = engine
        self._owned = owned
        self._found = found
        self._newest = 0  # job at the last question
        self._stopping = Stopping(loop)

    async def run(self) -> None:
        """Ask until ``stop``."""
        while not self._stopping.is_set():
            with outages.noting("unfinished", _FAILED):
                await self.ask()
            await self._stopping.rest(ASK_SECONDS)

    def stop(self) -> None:
        self._stopping.set()

    async def ask(self) -> None:
        """Ask once, for all accounts. Raises ``DatabaseAway``."""
        found, self._newest = await asyncio.to_thread(self._ask, list(self._owned()))
        for account in found:
            self._found(account)

    def _ask(self, accounts: Collection[str]) -> tuple[set[str], int]:
        found = waiting.find_unfinished(self._engine, accounts, self._newest) if accounts else set()
        return found, waiting.newest_seq(self._engine)
