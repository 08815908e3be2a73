"""What is overlooked, as figures: entries set aside, messages and jobs that no worker takes. Reported by the front door's owner.

In: Redis and the database, at a scrape. Out: figures. Never: more than some ten thousand keys at one scrape; the next one
goes on where it ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

import structlog
from prometheus_client.core import GaugeMetricFamily
from redis.exceptions import ResponseError

from worker68.broker.strays import StrayFinder, Strays
from worker68.execution.publishing import DEAD_KEY
from worker68.observe.parts import Parts
from worker68.redis_calls import redis_errors
from worker68.store.figures import count_waiting_jobs, find_waiting_accounts

log = structlog.get_logger(__name__)

#: At one scrape: a thousand keys each, so that a scrape takes Redis some twenty milliseconds, in short steps.
SCAN_STEPS: Final = 50
SCAN_SECONDS: Final = 1.0


class Overlooked:
    """Keeps how far the look through the keys has come. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()  # guards _finder and _strays: two may scrape at once
        self._finder = StrayFinder(parts.redis, parts.accounts)
        self._strays = Strays(complete=False)

    def read_redis(self) -> Iterator[GaugeMetricFamily]:
        """Yield what Redis says. Raises ``RedisAway``."""
        if not self._parts.owned.owns_front:
            return
        try:
            with redis_errors():
                count: Any = self._parts.redis.llen(DEAD_KEY)
            yield GaugeMetricFamily("worker68_set_aside", "Messages and replies on worker68:dead.", value=count)
            with redis_errors():
                found = self._look()
        except ResponseError as refusal:
            # The key is of another type, or a right is missing: `worker68 check` names it.
            log.debug("strays_not_read", problem=str(refusal))
            return
        text = "Messages in Redis that no worker takes."
        strays = GaugeMetricFamily("worker68_stray_messages", text, labels=("where",))
        strays.add_metric(("unknown_account",), sum(found.unknown.values()))
        strays.add_metric(("celery",), found.celery)
        yield strays

    def read_database(self) -> Iterator[GaugeMetricFamily]:
        """Yield what the database says. Raises ``DatabaseAway``."""
        if not self._parts.owned.owns_front:
            return
        unknown = [one for one in find_waiting_accounts(self._parts.engine) if one not in self._parts.accounts]
        count = sum(row.number for row in count_waiting_jobs(self._parts.engine, unknown)) if unknown else 0
        text = "Unfinished jobs of accounts that there are not."
        yield GaugeMetricFamily("worker68_jobs_without_account", text, value=count)

    def _look(self) -> Strays:
        """Return what the last whole round found, or as long as there is none, what this one has found so far."""
        with self._lock:
            found = self._finder.look(SCAN_STEPS, SCAN_SECONDS, replies=False)
            if found.complete or not self._strays.complete:
                self._strays = found
            return self._strays
