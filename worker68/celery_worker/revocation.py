"""Revocation: the waiting jobs of Celery ids are cancelled in SQL, wherever they wait.

In: ids, from remote control. Out: what came of it, or None where that takes longer. Never: a job of which something was written; a
wait for SQL longer than ``REVOKE_SECONDS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import structlog

from worker68.clock import utc_now
from worker68.errors import DatabaseAway
from worker68.loop import LoopThread
from worker68.store import waiting
from worker68.store.engine import Engine
from worker68.store.waiting import Cancelled

log = structlog.get_logger(__name__)

#: So long Celery's thread waits for what a revoke came to: it takes some milliseconds, and the client waits a second.
REVOKE_SECONDS: Final = 0.5
#: So long after a revoke it looks again for jobs that were not there: soon, because they may be due at once, and when each intake
#: that had begun before is over (PostgreSQL ends a transaction that is idle for 5 s).
AGAIN_SECONDS: Final = (0.3, 10.0)
#: While the database is away it is asked this often.
AWAY_SECONDS: Final = 0.5
_AWAY: Final = "it is written when the database is back; revoke again if this worker ends before"


class Revocation:
    """Cancels jobs for remote control. On Celery's thread; ``on_cancelled`` is called on the loop."""

    def __init__(
        self, engine: Engine, loop: LoopThread, on_cancelled: Callable[[Sequence[str], Cancelled], None]
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._on_cancelled = on_cancelled
        self._last: Future[Cancelled | None] | None = None
        self._again = asyncio.Semaphore(1)

    def revoke(self, task_ids: Sequence[str]) -> Cancelled | None:
        """Cancel the waiting jobs of these Celery ids; return what came of it, None where that takes longer or failed.

        It is done in the pool, because the database may be slow: that is waited for a moment, and not at all while an earlier one
        is not done, behind which it waits.
        """
        earlier = self._last if self._last is not None and not self._last.done() else None
        self._last = self._loop.submit(self._cancel(list(task_ids), earlier))
        try:
            return self._last.result(REVOKE_SECONDS if earlier is None else 0.0)
        except TimeoutError:
            return None

    async def _cancel(
        self, task_ids: list[str], earlier: Future[Cancelled | None] | None = None, *, is_again: bool = False
    ) -> Cancelled | None:
        if earlier is not None:  # or many would take the pool's threads while the database hangs
            await asyncio.wait([asyncio.wrap_future(earlier)])
        try:
            cancelled = await self._write(task_ids)
            self._on_cancelled(task_ids, cancelled)
        except Exception:
            log.exception("revoke_failed", task_ids=task_ids)
            return None
        if cancelled.unseen and not is_again:
            self._loop.begin(self._cancel_again(cancelled.unseen))
        if cancelled.ended or cancelled.too_late or not is_again:
            log.info(
                "jobs_cancelled", task_ids=task_ids, cancelled=len(cancelled.ended), too_late=len(cancelled.too_late)
            )
        return cancelled

    async def _write(self, task_ids: list[str]) -> Cancelled:
        """Write it down, however long the database is away: who has revoked waits for no answer, and learns of no failure."""
        is_away = False
        while True:
            try:
                return await asyncio.to_thread(waiting.cancel, self._engine, task_ids, "revoked", utc_now())
            except DatabaseAway as away:
                if not is_away:
                    log.error("revoke_waits", task_ids=task_ids, problem=str(away), remedy=_AWAY)
                is_away = True
                await asyncio.sleep(AWAY_SECONDS)

    async def _cancel_again(self, task_ids: list[str]) -> None:
        """Look again for jobs that were not there: an intake that was committing then has not seen the revoke either."""
        for seconds in AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            async with self._again:
                cancelled = await self._cancel(task_ids, is_again=True)
            if cancelled is not None:
                task_ids = cancelled.unseen
            if not task_ids:
                return
