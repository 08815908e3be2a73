"""A worker's vitals: its look at its own health, the status that it reports, the metrics that it serves.

In: the parts of the runtime. Out: HEALTH_FILE, the roster in Redis, ``/metrics``. A service of the loop, which begins after the
parts and ends before them; it looks in the pool.

A worker that is alive and does no work any more must fail a check: its threads and services, the rounds of the scheduler, the
writer together with the database, Redis, the leases, the relay. The watchdog sees a loop that stands still. That a *bridge* is down
is no illness: no restart repairs that, and jobs wait in the database.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from worker68.clock import monotonic, utc_now
from worker68.errors import RedisAway, SettingsError
from worker68.fleet.leases import FRONT
from worker68.observe.figures import make_registry
from worker68.observe.health import Check, Watch, are_alive, is_recent
from worker68.observe.metrics import Page
from worker68.observe.parts import Parts
from worker68.observe.roster import AccountStatus, RefusedKey, Roster, WorkerStatus
from worker68.redis_calls import redis_errors
from worker68.settings import Settings
from worker68.store.engine import endings_of
from worker68.store.schema import check_version
from worker68.store.writer import answers
from worker68.watchdog import Watchdog

log = structlog.get_logger(__name__)

THREADS: Final = frozenset({"worker68-loop", "worker68-writer"})

#: They end in order while a worker drains; what it has begun goes on without them.
REST_WHILE_DRAINING: Final = ("threads", "scheduler", "leases")
#: The scheduler goes round at least once a second, the relay looks every 5 s; a long sweep or a full outbox takes longer.
SCHEDULER_SECONDS: Final = 10.0
RELAY_SECONDS: Final = 15.0
#: Over which time the rate is taken.
RATE_SECONDS: Final = 60.0


class Vitals:
    """Raises ``SettingsError`` where the port for the metrics is taken, or the health file cannot be written."""

    def __init__(self, parts: Parts, settings: Settings, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._status = StatusReport(parts)
        if settings.health_file is not None:
            _clear(settings.health_file)
        self._watch = Watch(
            make_checks(parts, settings.lease_ttl), settings.health_file, parts.loop.loop, on_look=self._status.report
        )
        self._metrics = None
        if settings.metrics_port is not None:
            self._metrics = Page(settings.metrics_port, make_registry(parts, lambda: self.problem))
            log.info("metrics_served", port=settings.metrics_port)

    @property
    def problem(self) -> str | None:
        """What is wrong with this worker, None while it is well."""
        return self._watchdog.problem or self._watch.problem

    async def run(self) -> None:
        await self._watch.run()

    def drain(self) -> None:
        """Nothing is taken in or started any more, which is no illness now."""
        self._watch.forgo(*REST_WHILE_DRAINING)

    def stop(self) -> None:
        self._watch.stop()

    def close(self) -> None:
        """Leave nothing behind that says something about this worker. It waits for Redis, and for a scrape."""
        self._watch.remove_file()
        self._status.leave()
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def _clear(file: Path) -> None:
    """Remove what an earlier process left, which says nothing about this one, and see that the file can be made."""
    try:
        file.touch()
        file.unlink()
    except OSError as error:
        raise SettingsError(
            f"WORKER68_HEALTH_FILE names {str(file)!r}, which cannot be written: {error.strerror}"
        ) from None


def make_checks(parts: Parts, lease_ttl_seconds: float) -> Mapping[str, Check]:
    def ask_redis() -> str | None:
        with redis_errors():
            parts.redis.ping()
        return None

    def ask_database() -> str | None:
        parts.writer.write(answers)
        check_version(parts.engine)  # one without tables, or with those of another version, is waited for
        return None

    return {
        "threads": are_alive(THREADS),
        "services": lambda: f"ended: {', '.join(ended)}" if (ended := parts.loop.ended_services()) else None,
        "scheduler": is_recent("a round of the scheduler", lambda: parts.scheduler.went_round_at, SCHEDULER_SECONDS),
        "redis": ask_redis,
        "database": ask_database,
        "leases": is_recent("a look after the leases", lambda: parts.ownership.looked_at, lease_ttl_seconds),
        "relay": is_recent("a look into the outbox", lambda: parts.relay.passed_at, RELAY_SECONDS),
    }


class StatusReport:
    """Writes this worker's status to the roster."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._roster = Roster(parts.redis)
        self._started_at = utc_now()
        self._history: deque[tuple[float, Counter[str]]] = deque([(monotonic(), Counter())])

    def report(self, problem: str | None) -> None:
        try:
            self._roster.report(self.status(problem))
        except RedisAway as away:
            log.debug("status_not_reported", problem=str(away))

    def leave(self) -> None:
        try:
            self._roster.leave(self._parts.ownership.worker_id)
        except RedisAway as away:
            log.debug("roster_not_left", problem=str(away))

    def status(self, problem: str | None) -> WorkerStatus:
        parts = self._parts
        endings, rates = self._count_endings()
        accounts = {}
        for account in parts.owned.all():
            accounts[account.name] = AccountStatus(
                bridge=account.link.why_not_ready,
                unfinished=account.upkeep.unfinished,
                in_flight=account.dispatch.in_flight,
                ended_per_minute=round(rates[account.name], 1),
                endings=endings.get(account.name, {}),
            )
        return WorkerStatus(
            worker=parts.ownership.worker_id,
            pid=os.getpid(),
            started_at=self._started_at,
            told_at=utc_now(),
            problem=problem,
            front=parts.ownership.lease(FRONT) is not None,
            accounts=accounts,
            refused=[RefusedKey(one.key, one.what, one.problem, one.count) for one in parts.relay.refusals.now()],
        )

    def _count_endings(self) -> tuple[dict[str, dict[str, int]], Counter[str]]:
        """Return what has ended by account and status, and how many a minute by account, over the last minute."""
        by_status: dict[str, dict[str, int]] = {}
        totals: Counter[str] = Counter()
        for ending, count in endings_of(self._parts.engine).read().items():
            if ending.revised or ending.account not in self._parts.accounts:
                continue
            of_account = by_status.setdefault(ending.account, {})
            of_account[ending.status] = of_account.get(ending.status, 0) + count
            totals[ending.account] += count
        now = monotonic()
        while len(self._history) > 1 and self._history[1][0] <= now - RATE_SECONDS:
            self._history.popleft()
        since, before = self._history[0]
        self._history.append((now, totals))
        minutes = max(now - since, 1.0) / 60
        rates: Counter[str] = Counter()
        for account, total in totals.items():
            rates[account] = (total - before[account]) / minutes  # type: ignore[assignment]
        return by_status, rates
