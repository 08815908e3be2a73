"""The figures of a worker, read when somebody scrapes: docs/metrics.md says what each means and which to alert on.

In: the parts. Out: figures of the accounts that this worker owns, so that a sum over workers counts nothing twice. Labels: accounts
of the settings, tasks of the register, the states, statuses, codes and kinds of events of the code; anything else is "other".
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator
from typing import Final, cast

import structlog

from worker68.broker.place import FRONT_DOOR, lists_of, queue_of
from worker68.clock import utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.fleet.leases import FRONT, account_lease
from worker68.jobs.outcome import Status
from worker68.limits.pace import FULL_PACE, pace_key
from worker68.observe.metrics import Figure
from worker68.redis_calls import redis_errors
from worker68.store.engine import endings_of
from worker68.store.figures import count_parcels, count_waiting_jobs
from worker68.store.refused import count_refused
from worker68.tasks import TASKS
from worker68.vitals.overlooked import Overlooked
from worker68.vitals.parts import Parts

log = structlog.get_logger(__name__)

OTHER: Final = "other"

counter = functools.partial(Figure, "counter")
gauge = functools.partial(Figure, "gauge")
histogram = functools.partial(Figure, "histogram")


def read_figures(parts: Parts, overlooked: Overlooked, problem: Callable[[], str | None]) -> list[Figure]:
    """Return all figures. What Redis or the database would say is left out while it is away, and ``worker68_up`` says so."""
    up = gauge("worker68_up", "Whether the part answered when this was asked (1) or not (0).", ("part",))
    figures = [up, *_of_health(parts, problem), *_of_memory(parts), *_of_bridges(parts), *_of_latencies(parts)]
    for part, read, read_overlooked in (
        ("database", _of_database, overlooked.read_database),
        ("redis", _of_redis, overlooked.read_redis),
    ):
        try:
            figures += [*read(parts), *read_overlooked()]
        except (DatabaseAway, RedisAway) as away:
            log.debug("figures_left_out", part=part, problem=str(away))
            up.set(0, part)
        else:
            up.set(1, part)
    return figures


def _of_health(parts: Parts, problem: Callable[[], str | None]) -> Iterator[Figure]:
    healthy = gauge("worker68_healthy", "Whether this worker finds itself healthy (1), as HEALTH_FILE says it.")
    healthy.set(0 if problem() else 1)
    yield healthy
    leases = gauge("worker68_lease_held", "Whether this worker holds the lease: `front`, `account:NAME`.", ("lease",))
    # Also those that it does not hold: a sum over a series that is not there would be nothing, and no alert.
    for name in (FRONT, *map(account_lease, parts.accounts)):
        leases.set(0, name)
    for lease in parts.ownership.held():
        leases.set(1, lease.name)
    yield leases


def _of_memory(parts: Parts) -> Iterator[Figure]:
    ended = counter(
        "worker68_jobs_ended_total",
        "Jobs that ended, as this worker committed it.",
        ("account", "task", "status", "code"),
    )
    revised = counter("worker68_jobs_revised_total", "Outcomes that later evidence corrected.", ("account", "status"))
    doubts = counter("worker68_jobs_in_doubt_total", "Jobs that ended in doubt.", ("account",))
    # From 0 on: an increase is seen only from a value that was scraped before.
    for account in parts.pump.owned_accounts():
        doubts.set(0, account)
    for ending, count in endings_of(parts.engine).read().items():
        account = _account(parts, ending.account)
        if ending.revised:
            _add(revised, count, account, ending.status)
        else:
            _add(ended, count, account, _task(ending.task), ending.status, ending.code)
            if ending.status == Status.IN_DOUBT:
                _add(doubts, count, account)
    yield ended
    yield doubts
    yield revised
    runs = counter(
        "worker68_runs_total",
        "Runs of jobs: `ended`, `again` (another attempt or step follows), `dropped` (nothing was written).",
        ("account", "task", "end"),
    )
    for (account, task, end), count in parts.runs.ends().items():
        runs.set(count, account, task, end)
    yield runs
    in_flight = gauge("worker68_jobs_in_flight", "Jobs under way in this worker.", ("account",))
    for desk in parts.pump.desks():
        in_flight.set(desk.execution.dispatch.in_flight, desk.account)
    yield in_flight
    paused = gauge(
        "worker68_paused", "Whether somebody has paused the account (1): nothing is written for it.", ("account",)
    )
    for desk in parts.pump.desks():
        paused.set(1 if desk.execution.permit.pause else 0, desk.account)
    yield paused
    for_celery = gauge("worker68_delivery_waiting", "Jobs that wait for Celery's consumer to take them.")
    for_celery.set(len(parts.delivery))
    yield for_celery
    dropped = counter("worker68_events_dropped_total", "Unsolicited events that were lost on the way to Redis.")
    dropped.set(parts.relay.passing.events_dropped)
    yield dropped
    refusals = counter(
        "worker68_redis_refused_total",
        "What Redis refused for good: a key of another type, a missing right. `worker68 check` names the keys.",
        ("what",),
    )
    for what, count in parts.relay.refusals.totals().items():
        refusals.set(count, what)
    yield refusals


def _of_bridges(parts: Parts) -> Iterator[Figure]:
    ready = gauge(
        "worker68_bridge_ready", "Whether the account's bridge can be used: socket, Hello, login.", ("account",)
    )
    events = counter("worker68_bridge_total", "What happened on the account's connection.", ("account", "kind"))
    for account in parts.pump.owned_accounts():
        link = parts.links.get(account)
        if link is None:
            continue
        ready.set(1 if link.ready else 0, account)
        for kind, count in link.counters.items():
            events.set(count, account, kind)
    yield ready
    yield events


def _of_latencies(parts: Parts) -> Iterator[Figure]:
    runs = histogram("worker68_run_seconds", "From a job's turn to its outcome, its waits included.", ("account",))
    slots = histogram("worker68_slot_wait_seconds", "How much of a run was waiting for its write time.", ("account",))
    for account, latency in parts.runs.took.items():
        runs.set(latency.read(), account)
        slots.set(parts.runs.slot_waits[account].read(), account)
    yield runs
    yield slots
    for name, latency, help_ in (
        ("writer", parts.writer.latency, "One transaction of the writer, its commit included."),
        ("relay", parts.relay.latency, "One batch of the outbox: read, published, deleted."),
        ("pump", parts.pump.latency, "One round of taking in and handing on."),
    ):
        figure = histogram(f"worker68_{name}_seconds", help_)
        figure.set(latency.read())
        yield figure


def _of_database(parts: Parts) -> list[Figure]:
    owned, now = parts.pump.owned_accounts(), utc_now()
    waiting = gauge("worker68_jobs", "Unfinished jobs in the database.", ("account", "task", "state"))
    lag = gauge(
        "worker68_oldest_ready_seconds", "For how long the oldest job that could have run has waited.", ("account",)
    )
    for account in owned:
        lag.set(0, account)
    for row in count_waiting_jobs(parts.engine, owned):
        _add(waiting, row.number, row.account, _task(row.task), row.state)
        if row.state == "ready":
            lag.set(max(cast(float, lag.values[row.account,]), _age(row.since, now)), row.account)
    parcels = gauge(
        "worker68_outbox", "Replies and results in the database that Redis has not yet.", ("account", "kind")
    )
    age = gauge("worker68_outbox_oldest_seconds", "The age of the oldest of them.", ("account",))
    for account in owned:
        age.set(0, account)
    for parcel in count_parcels(parts.engine, owned):
        parcels.set(parcel.number, parcel.account, parcel.kind)
        age.set(max(cast(float, age.values[parcel.account,]), _age(parcel.since, now)), parcel.account)
    refused = gauge(
        "worker68_outbox_refused", "Replies and results that Redis refuses for good; tried again.", ("account", "kind")
    )
    for one in count_refused(parts.engine, owned):
        refused.set(one.number, one.account, one.kind)
    return [waiting, lag, parcels, age, refused]


def _of_redis(parts: Parts) -> list[Figure]:
    """Ask Redis everything in one trip."""
    owned = parts.pump.owned_accounts()
    queues = {account: queue_of(account) for account in owned}
    if parts.pump.owns_front:
        queues[""] = FRONT_DOOR
    names = parts.relay.reply_keys.recent()
    with redis_errors(), parts.redis.pipeline(transaction=False) as pipe:
        for account in owned:
            pipe.hget(pace_key(account), "pace")
        for queue in queues.values():
            for key in lists_of(queue):
                pipe.llen(key)
        for key, is_stream in names:
            (pipe.xlen if is_stream else pipe.llen)(key)
        answers = iter(pipe.execute(raise_on_error=False))
    pace = gauge(
        "worker68_pace_ratio", "The share of its limits that the account may use: 1, less after busy.", ("account",)
    )
    for account in owned:
        pace.set(_number(next(answers), FULL_PACE) / FULL_PACE, account)
    queued = gauge("worker68_queue_length", "Messages in Redis that nobody has taken in yet.", ("queue",))
    for queue in queues.values():
        queued.set(sum(_number(next(answers)) for _ in lists_of(queue)), queue)
    lengths = [_number(next(answers)) for _ in names]
    unread = gauge(
        "worker68_replies_unread", "Replies on the lists and streams that were last published to.", ("figure",)
    )
    unread.set(sum(lengths), "sum")
    unread.set(max(lengths, default=0), "longest")
    return [pace, queued, unread]


def _add(figure: Figure, count: int, *labels: str) -> None:
    figure.set(cast(float, figure.values.get(labels, 0)) + count, *labels)


def _age(since: dt.datetime, now: dt.datetime) -> float:
    return max(0.0, (now - since).total_seconds())


def _number(answer: object, default: int = 0) -> int:
    """Return what Redis answered; a key of another type, or none, counts as ``default``."""
    return int(answer) if isinstance(answer, int | bytes) else default


def _account(parts: Parts, account: str) -> str:
    return account if account in parts.accounts else OTHER


def _task(task: str) -> str:
    return task if task in TASKS else OTHER
