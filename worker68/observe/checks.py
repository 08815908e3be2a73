"""What "healthy" means for a worker: the checks that are made in the pool.

A worker that is alive and does no work any more must fail one of them: its threads and services, the rounds of the scheduler, the
writer together with the database, Redis, the leases, the relay. The watchdog sees a loop that stands still. That a *bridge* is down
is none of it: no restart repairs that, and jobs wait in the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker68.observe.health import Check, Recency, Threads
from worker68.observe.parts import Parts
from worker68.redis_calls import redis_errors
from worker68.store.schema import check_version
from worker68.store.writer import answers

THREADS: Final = frozenset({"worker68-loop", "worker68-writer"})

#: They end in order while a worker drains; what it has begun goes on without them.
REST_WHILE_DRAINING: Final = ("threads", "scheduler", "leases")


#: The scheduler goes round at least once a second, the relay looks every 5 s; a long sweep or a full outbox takes longer.
SCHEDULER_SECONDS: Final = 10.0
RELAY_SECONDS: Final = 15.0


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
        "threads": Threads(THREADS),
        "services": lambda: f"ended: {', '.join(ended)}" if (ended := parts.loop.ended_services()) else None,
        "scheduler": Recency("a round of the scheduler", lambda: parts.scheduler.went_round_at, SCHEDULER_SECONDS),
        "redis": ask_redis,
        "database": ask_database,
        "leases": Recency("a look after the leases", lambda: parts.ownership.looked_at, lease_ttl_seconds),
        "relay": Recency("a look into the outbox", lambda: parts.relay.passed_at, RELAY_SECONDS),
    }
