"""A worker's status as its parts show it, written to Redis at each look at its health.

In: the parts, and what is wrong. Out: ``WorkerStatus`` in Redis. Called in the pool.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from typing import Final

import structlog

from worker68.clock import monotonic, utc_now
from worker68.errors import RedisAway
from worker68.fleet.leases import FRONT
from worker68.observe.parts import Parts
from worker68.observe.roster import AccountStatus, RefusedKey, Roster, WorkerStatus
from worker68.store.engine import endings_of

log = structlog.get_logger(__name__)

#: Over which time the rate is taken.
RATE_SECONDS: Final = 60.0


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
