"""The metrics of a worker: what its parts have counted, and what is asked of them, of Redis and of the database at a scrape.

docs/metrics.md says what each means and which to alert on. In: the parts. Out: a registry, with the accounts that this worker owns,
so that a sum over workers counts nothing twice. Labels: accounts of settings and database, tasks of the register, the states,
statuses, codes and kinds of events of the code; anything else is "other".
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import ResponseError

from worker68.broker.place import lists_of
from worker68.broker.strays import StrayFinder, Strays
from worker68.clock import utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.publishing import DEAD_KEY
from worker68.fleet.leases import FRONT, account_lease
from worker68.jobs.outcome import Status
from worker68.limits.pace import FULL_PACE, pace_key
from worker68.observe.outages import Outage
from worker68.observe.parts import Parts
from worker68.redis_calls import redis_errors
from worker68.store.engine import endings_of
from worker68.store.figures import count_outbox, count_waiting_jobs, find_waiting_accounts
from worker68.store.outbox import count_refused
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)

OTHER: Final = "other"

#: Keys of Redis looked through at one scrape: a thousand a step, so that a scrape takes Redis some twenty milliseconds. The next
#: one goes on where it ended.
SCAN_STEPS: Final = 50
SCAN_SECONDS: Final = 1.0

_FAILED: Final = Outage(
    "figures_failed", "figures_read_again", "this is a fault in worker68; these figures are left out", fault=True
)

Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)
#: Values by that of the only label, or by a tuple of those of all labels.
Values: TypeAlias = Mapping[Any, float]


def make_registry(parts: Parts, problem: Callable[[], str | None]) -> CollectorRegistry:
    """Return all metrics of a worker. ``problem`` says what is wrong with it."""
    registry = CollectorRegistry()
    for counted in (
        parts.runs.ends,
        parts.runs.took,
        parts.runs.slot_waits,
        parts.writer.seconds,
        parts.relay.outbox.seconds,
        parts.relay.refusals.counted,
        parts.relay.passing.events_dropped,
        parts.scheduler.seconds,
        parts.lag.seconds,
    ):
        registry.register(counted)
    registry.register(_Asked(parts, problem))
    ProcessCollector(registry=registry)
    return registry


class _Asked(Collector):
    """What is asked at a scrape. What cannot be read is left out; ``worker68_up`` says so where Redis or the database is away."""

    def __init__(self, parts: Parts, problem: Callable[[], str | None]) -> None:
        self._parts = parts
        self._problem = problem
        self._lock = threading.Lock()  # guards _finder and _strays: two may scrape at once
        self._finder = StrayFinder(parts.redis, parts.accounts)
        self._strays = Strays(complete=False)
        #: Accounts that there are or were: what was counted stays under one label, so that no counter goes back.
        self._named: set[str] = set()
        self._reads: tuple[tuple[str, Callable[[], Iterable[Metric]]], ...] = (
            ("worker", self._read_health),
            ("worker", self._read_endings),
            ("worker", self._read_jobs_under_way),
            ("worker", self._read_bridges),
            ("database", self._read_database),
            ("database", self._read_jobs_without_account),
            ("redis", self._read_redis),
            ("redis", self._read_overlooked),
        )

    def collect(self) -> Iterator[Metric]:
        up = {"database": 1, "redis": 1}
        for part, read in self._reads:
            try:
                found = list(read())
            except (DatabaseAway, RedisAway) as away:
                log.debug("figures_left_out", part=part, problem=str(away))
                up[part] = 0
            except Exception as error:  # noqa: BLE001 - one figure that fails must not cost the others
                _FAILED.fails(read.__name__, error)
            else:
                _FAILED.works(read.__name__)
                yield from found
        yield gauge("worker68_up", "Whether the part answered when this was asked (1) or not (0).", ("part",), up)

    def _read_health(self) -> Iterator[Metric]:
        yield gauge(
            "worker68_healthy",
            "Whether this worker finds itself healthy (1), as HEALTH_FILE says it.",
            (),
            {(): 0 if self._problem() else 1},
        )
        # Also those that it does not hold: a sum over a series that is not there would be nothing, and no alert. But one worker is
        # enough for that: accounts times workers would be millions of series.
        accounts = self._parts.accounts if self._parts.owned.owns_front else ()
        leases = dict.fromkeys((FRONT, *map(account_lease, accounts)), 0)
        leases |= {lease.name: 1 for lease in self._parts.ownership.held()}
        yield gauge(
            "worker68_lease_held", "Whether this worker holds the lease: `front`, `account:NAME`.", ("lease",), leases
        )

    def _read_endings(self) -> Iterator[Metric]:
        ended: Counter[tuple[str, ...]] = Counter()
        revised: Counter[tuple[str, ...]] = Counter()
        # From 0 on: an increase is seen only from a value that was scraped before. Those of a takeover have none (docs/metrics.md).
        doubts = Counter(dict.fromkeys(self._parts.owned.names(), 0))
        self._named.update(self._parts.accounts)
        for ending, count in endings_of(self._parts.engine).read().items():
            account = ending.account if ending.account in self._named else OTHER
            if ending.revised:
                revised[account, ending.status] += count
            else:
                ended[account, _task(ending.task), ending.status, ending.code] += count
                if ending.status == Status.IN_DOUBT:
                    doubts[account] += count
        yield counter(
            "worker68_jobs_ended_total",
            "Jobs that ended, as this worker committed it.",
            ("account", "task", "status", "code"),
            ended,
        )
        yield counter("worker68_jobs_in_doubt_total", "Jobs that ended in doubt.", ("account",), doubts)
        yield counter(
            "worker68_jobs_revised_total", "Outcomes that later evidence corrected.", ("account", "status"), revised
        )

    def _read_jobs_under_way(self) -> Iterator[Metric]:
        accounts = self._parts.owned.all()
        in_flight = {account.name: account.dispatch.in_flight for account in accounts}
        yield gauge("worker68_jobs_in_flight", "Jobs under way in this worker.", ("account",), in_flight)
        paused = {account.name: int(account.guard.paused) for account in accounts}
        text = "1 while the account is paused: nothing is written for it."
        yield gauge("worker68_paused", text, ("account",), paused)

    def _read_bridges(self) -> Iterator[Metric]:
        ready: dict[str, int] = {}
        events: dict[tuple[str, ...], int] = {}
        for account in self._parts.owned.all():
            ready[account.name] = 1 if account.link.ready else 0
            events |= {(account.name, kind): count for kind, count in account.link.counters.items()}
        text = "Whether the account's bridge can be used: socket, Hello, login."
        yield gauge("worker68_bridge_ready", text, ("account",), ready)
        yield counter(
            "worker68_bridge_total", "What happened on the account's connection.", ("account", "kind"), events
        )

    def _read_database(self) -> Iterator[Metric]:
        engine, owned, now = self._parts.engine, self._parts.owned.names(), utc_now()
        waiting: Counter[tuple[str, ...]] = Counter()
        lag = dict.fromkeys(owned, 0.0)
        for row in count_waiting_jobs(engine, owned):
            waiting[row.account, _task(row.task), row.state] += row.number
            lag[row.account] = max(lag[row.account], row.has_waited(now) or 0.0)
        yield gauge("worker68_jobs", "Unfinished jobs in the database.", ("account", "task", "state"), waiting)
        text = "For how long the oldest job that could have run has waited."
        yield gauge("worker68_oldest_ready_seconds", text, ("account",), lag)
        outbox: dict[tuple[str, ...], int] = {}
        age = dict.fromkeys(owned, 0.0)
        for entry in count_outbox(engine, owned):
            outbox[entry.account, entry.kind] = entry.number
            age[entry.account] = max(age[entry.account], _age(entry.since, now))
        text = "Replies and results in the database that Redis has not yet."
        yield gauge("worker68_outbox", text, ("account", "kind"), outbox)
        yield gauge("worker68_outbox_oldest_seconds", "The age of the oldest of them.", ("account",), age)
        refused = {(one.account, one.kind): one.number for one in count_refused(engine, owned)}
        text = "Replies and results that Redis refuses for good; tried again."
        yield gauge("worker68_outbox_refused", text, ("account", "kind"), refused)

    def _read_redis(self) -> Iterator[Metric]:
        """Ask Redis everything in one trip."""
        parts = self._parts
        owned = parts.owned.names()
        queues = parts.owned.queues()
        latest = parts.relay.unread.latest()
        with redis_errors(), parts.redis.pipeline(transaction=False) as pipe:
            for account in owned:
                pipe.hget(pace_key(account), "pace")
            for queue in queues:
                for key in lists_of(queue):
                    pipe.llen(key)
            for key in latest:
                (pipe.xlen if key.endswith(":stream") else pipe.llen)(key)
            answers = iter(pipe.execute(raise_on_error=False))
        paces = {account: _number(next(answers), FULL_PACE) / FULL_PACE for account in owned}
        text = "The share of its limits that the account may use: 1, less after busy."
        yield gauge("worker68_pace_ratio", text, ("account",), paces)
        queued = {queue: sum(_number(next(answers)) for _ in lists_of(queue)) for queue in queues}
        text = "Messages in Redis that are not taken in yet."
        yield gauge("worker68_queue_length", text, ("queue",), queued)
        lengths = [_number(next(answers)) for _ in latest]
        unread = {"sum": sum(lengths), "longest": max(lengths, default=0)}
        text = "Replies on the lists and streams that were last published to."
        yield gauge("worker68_replies_unread", text, ("figure",), unread)

    def _read_jobs_without_account(self) -> Iterator[Metric]:
        """Reported by the owner of the front door alone, as what is overlooked in Redis."""
        if not self._parts.owned.owns_front:
            return
        unknown = [one for one in find_waiting_accounts(self._parts.engine) if one not in self._parts.accounts]
        count = sum(row.number for row in count_waiting_jobs(self._parts.engine, unknown)) if unknown else 0
        text = "Unfinished jobs of accounts that there are not."
        yield gauge("worker68_jobs_without_account", text, (), {(): count})

    def _read_overlooked(self) -> Iterator[Metric]:
        """Look at what is set aside, and for messages that no worker takes."""
        if not self._parts.owned.owns_front:
            return
        try:
            with redis_errors():
                count: Any = self._parts.redis.llen(DEAD_KEY)
            yield gauge("worker68_set_aside", "Messages and replies on worker68:dead.", (), {(): count})
            with redis_errors():
                found = self._look_for_strays()
        except ResponseError as refusal:
            # The key is of another type, or a right is missing: `worker68 check` names it.
            log.debug("strays_not_read", problem=str(refusal))
            return
        strays = {
            "unknown_account": sum(found.unknown.values()),
            "priority": sum(found.steps.values()),
            "celery": found.celery,
        }
        yield gauge("worker68_stray_messages", "Messages in Redis that no worker takes.", ("where",), strays)

    def _look_for_strays(self) -> Strays:
        """Return what the last whole round found, or as long as there is none, what this one has found so far."""
        with self._lock:
            found = self._finder.look(SCAN_STEPS, SCAN_SECONDS, replies=False)
            if found.complete or not self._strays.complete:
                self._strays = found
            return self._strays


def gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def counter(name: str, text: str, labels: tuple[str, ...], values: Values) -> CounterMetricFamily:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: Family, values: Values) -> Family:
    for of, value in values.items():
        family.add_metric((of,) if isinstance(of, str) else of, value)
    return family


def _age(since: dt.datetime, now: dt.datetime) -> float:
    return max(0.0, (now - since).total_seconds())


def _number(answer: object, default: int = 0) -> int:
    """Return what Redis answered; a key of another type, or none, counts as ``default``."""
    return int(answer) if isinstance(answer, int | bytes) else default


def _task(task: str) -> str:
    return task if task in TASKS else OTHER
