"""Opens accounts and looks after them beside the rounds, so that what takes long for one account holds up no other.

In: accounts that are to be opened, and those for which something is due. Out: each in a task of its own, a few at a time; nothing
begins for an account meanwhile, and it is due again once that is done. Never: a job; two such tasks of one account at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from worker68.errors import DatabaseAway, RedisAway
from worker68.scheduling.owned_accounts import OwnedAccounts

#: Each takes a thread of the pool, and a connection to the database. One whose rows are locked takes two seconds.
OPENED_AT_ONCE: Final = 3
TENDED_AT_ONCE: Final = 4


class Tending:
    """On the loop. ``done`` is called with each account that was opened or looked after, or could not be."""

    def __init__(self, owned: OwnedAccounts, done: Callable[[str], None]) -> None:
        self._owned = owned
        self._done = done
        self._room = asyncio.Semaphore(TENDED_AT_ONCE)
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._away: DatabaseAway | RedisAway | None = None

    def begin(self, due: Sequence[str]) -> None:
        """Open accounts, and look after those of these that need it. Raise what kept an earlier one from that and concerns all."""
        away, self._away = self._away, None
        if away is not None:
            raise away
        for name in self._owned.unopened(OPENED_AT_ONCE - self._opening):
            self._opening += 1
            self._start(name, self._open(name))
        for name in due:
            if self._owned[name].needs_care:
                self._start(name, self._tend(name))

    async def end(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._away = None

    def _start(self, name: str, work: Awaitable[None]) -> None:
        self._owned.cared_for.add(name)
        task = asyncio.ensure_future(self._run(name, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except (DatabaseAway, RedisAway) as away:
            self._away = away
        finally:
            self._owned.cared_for.discard(name)
            self._done(name)

    async def _open(self, name: str) -> None:
        try:
            await self._owned.apart(name, self._owned.open(name))
        finally:
            self._opening -= 1

    async def _tend(self, name: str) -> None:
        async with self._room:
            if (account := self._owned.find(name)) is not None:  # it may be lost meanwhile
                await self._owned.apart(name, account.tend())
