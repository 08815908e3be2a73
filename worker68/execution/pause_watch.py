"""The watch over pauses: a service of the loop that asks SQL which accounts are paused.

In: the accounts that this worker owns. Out: one answer for all of them, once a second and when an account was opened; the owner's
word in the row of a pause that it has seen. One question at a time, so that no older answer replaces a newer one. An answer ends by
itself: an owner that cannot ask SQL stops writing, so the operator who has paused an account knows from when on nothing is
written, also by a worker that does not answer. Never: a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from worker68.clock import boottime
from worker68.execution.slots import AccountPause, Answer
from worker68.loop import Loop, Wakeup
from worker68.observe import outages
from worker68.store import pauses
from worker68.store.engine import Engine
from worker68.store.pauses import Pause

log = structlog.get_logger(__name__)

#: SQL is asked this often; an answer counts five times as long.
LOOK_SECONDS: Final = 1.0

_FAILED: Final = outages.Outage(
    "pause_watch_failed",
    "pause_watch_works_again",
    "a fault in worker68: nothing is written while it is not known which accounts are paused",
    fault=True,
)


class PauseWatch:
    """Asks for all of one worker's accounts. On the loop.

    ``changed`` is called with each account that may be written for from now on, or not any more.
    """

    def __init__(self, engine: Engine, owner: str, loop: Loop, changed: Callable[[str], None]) -> None:
        self._engine = engine
        self._owner = owner
        self._changed = changed
        self._answer = Answer(-1.0, {})
        self._opened: dict[str, AccountPause] = {}
        self._new: set[str] = set()  # accounts of which no answer counts yet
        self._seen: dict[str, Pause] = {}
        self._wakeup = Wakeup(loop)
        self._stopping = False

    async def run(self) -> None:
        """Ask SQL until ``stop``. Then the last answer ends by itself."""
        while not self._stopping:
            with outages.noting("watch", _FAILED):
                await self._look()
            await self._wakeup.wait(LOOK_SECONDS)

    def stop(self) -> None:
        self._stopping = True
        self._wakeup.set()

    def open(self, account: str) -> AccountPause:
        """Watch an account that this worker owns from now on. Nothing may be written for it before SQL has been asked."""
        self.close(account)
        opened = self._opened[account] = AccountPause(account, lambda: self._answer)
        self._new.add(account)
        self._wakeup.set()
        return opened

    def close(self, account: str) -> None:
        """This worker does not own the account any more."""
        self._opened.pop(account, None)
        self._seen.pop(account, None)
        self._new.discard(account)

    async def _look(self) -> None:
        """Ask SQL once, for all accounts, and act on it. Raises ``DatabaseAway``."""
        asked_at = boottime()
        self._answer = answer = Answer(asked_at, await asyncio.to_thread(pauses.list_pauses, self._engine))
        opened = {account for account in self._new if self._opened[account].counts(answer)}
        self._new -= opened
        if self._new:  # opened during the question: ask again at once
            self._wakeup.set()
        seen = {
            name: pause
            for name, pause in answer.pauses.items()
            if (account := self._opened.get(name)) is not None and account.counts(answer)
        }
        before, self._seen = self._seen, seen
        self._log_changes(before, seen)
        for name in opened | (before.keys() ^ seen.keys()):
            self._changed(name)
        # Only now, when nothing more is written: the command `worker68 pause` waits for this.
        for pause in list(seen.values()):  # a lost account leaves meanwhile
            if pause.seen_by != self._owner and pause.account in self._seen:
                await asyncio.to_thread(pauses.note_seen, self._engine, pause.id, self._owner)

    def _log_changes(self, before: dict[str, Pause], now: dict[str, Pause]) -> None:
        for account in now.keys() - before.keys():
            pause = now[account]
            remedy = f"when the reason is gone: worker68 resume {account} --reason ..."
            log.warning("account_paused", account=account, by=pause.paused_by, reason=pause.reason, remedy=remedy)
        for account in before.keys() - now.keys():
            log.info("account_resumed", account=account)
