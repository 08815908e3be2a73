"""Entries that Redis has refused for good, tried again after growing pauses. Called by the relay, in the pool.

In: entries of the table of refused entries that are due. Out: those that Redis takes by now, deleted; the others, due later. Never:
an end of a reply; only Celery's states end, when they would have ended in Redis.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from worker68.clock import monotonic, utc_now
from worker68.execution.publishing import BATCH, STALE_AFTER, Ownership, Publisher
from worker68.store.engine import Engine
from worker68.store.refused import end_refused, fetch_due, settle_refused

#: Between two looks for what is due.
LOOK_SECONDS: Final = 5.0
#: An entry is tried again after this, then after twice as long, up to the most.
RETRY_SECONDS: Final = 5.0
RETRY_MOST_SECONDS: Final = 300.0
#: Between two looks for what would have ended in Redis by now, had Redis taken it.
END_SECONDS: Final = 3600.0


class Retries:
    """Raises ``DatabaseAway`` and ``RedisAway``."""

    def __init__(self, engine: Engine, publisher: Publisher, ownership: Ownership, reply_ttl_seconds: int) -> None:
        self._engine = engine
        self._publisher = publisher
        self._ownership = ownership
        self._reply_ttl = dt.timedelta(seconds=reply_ttl_seconds)
        self._look_at = self._end_at = 0.0

    def publish(self) -> bool:
        """Try a batch, where it is due; return whether Redis took some of it: then the rest follows without a pause."""
        if monotonic() < self._look_at:
            return False
        self._look_at = monotonic() + LOOK_SECONDS
        owned, others, now = self._ownership.owned_accounts(), self._ownership.others(), utc_now()
        if monotonic() >= self._end_at:
            self._end_at = monotonic() + END_SECONDS
            end_refused(self._engine, now - self._reply_ttl)
        entries = fetch_due(self._engine, owned, others, now, now - STALE_AFTER, BATCH)
        if not entries:
            return False
        published = self._publisher.publish(entries)
        problems = {entry.id: (problem, now + pause_after(entry.refusals)) for entry, problem in published.refused}
        settle_refused(self._engine, published.done, problems)
        self._publisher.forget(published.done)
        if published.away is not None:
            raise published.away
        if published.done:
            self._look_at = 0.0
        return bool(published.done)


def pause_after(refusals: int) -> dt.timedelta:
    """Return how long an entry that was refused so often before waits now."""
    return dt.timedelta(seconds=min(RETRY_SECONDS * 2 ** min(refusals, 16), RETRY_MOST_SECONDS))
