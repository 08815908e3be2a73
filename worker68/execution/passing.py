"""What passes through memory to Redis without the outbox, and may be lost: events of the bridges, and Celery's state DEFERRED.

In: events and Celery ids, from other threads. Out: both in Redis, in their order. Never: more than the limits in memory; a lost
event that is not counted.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import structlog

from worker68.errors import RedisAway, RedisNotNow
from worker68.execution.publishing import REMEDY, RESULT_PREFIX
from worker68.execution.refusals import Refusals
from worker68.jobs.outcome import celery_deferred
from worker68.observe.metrics import counter
from worker68.redis_calls import answers_of, not_now, refusal

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Events that wait for Redis; the oldest are dropped and counted beyond it, so that a Redis that is away costs no memory.
EVENTS_LIMIT = 10_000
EVENTS_BATCH: Final = 500
#: The same for jobs that are to be shown as DEFERRED, which is a courtesy: as many as one account's waiting room holds.
DEFERRED_LIMIT = 200_000
DEFERRED_BATCH: Final = 5000
#: About how many events one stream keeps: it may have no reader.
STREAM_LENGTH = 100_000


class Passing:
    """``defer`` and ``add_event`` are called by one thread each, ``publish`` in the pool, one at a time."""

    def __init__(self, redis: Any, reply_ttl_seconds: int, refusals: Refusals) -> None:
        self._redis = redis
        self._reply_ttl = reply_ttl_seconds
        self._refusals = refusals
        # Without a lock: the others add at the right end and drop at the left, ``publish`` takes and puts back at the left.
        self._events: deque[tuple[str, bytes]] = deque()
        self._deferred: deque[tuple[str, float]] = deque()
        # There was no room for them to wait, Redis refused them for good, or it did not take them before the worker ended.
        self.events_dropped = counter(
            "worker68_events_dropped_total", "Unsolicited events that were lost on the way to Redis."
        )

    def add_event(self, account: str, raw: bytes) -> None:
        self._events.append((account, raw))
        self.events_dropped.inc(_drop_oldest(self._events, EVENTS_LIMIT))

    def defer(self, waiting: Iterable[tuple[str, float]]) -> None:
        self._deferred.extend(waiting)
        _drop_oldest(self._deferred, DEFERRED_LIMIT)

    @property
    def waiting(self) -> bool:
        return bool(self._events or self._deferred)

    def publish(self) -> None:
        """Publish a batch of both. Raises ``RedisAway``: what Redis did not take then waits, in its place."""
        later = self._pass_on(self._deferred, DEFERRED_BATCH, self._send_deferred)
        later = self._pass_on(self._events, EVENTS_BATCH, self._send_events) or later
        if later is not None:
            raise later

    def drop(self) -> None:
        """Drop what still waits, at the end of the worker."""
        _drop_oldest(self._deferred, 0)
        if events := _drop_oldest(self._events, 0):
            self.events_dropped.inc(events)
            log.warning("events_dropped", count=events, remedy="Redis did not take them before the worker ended")

    def _pass_on(self, waiting: deque[T], batch: int, send: Callable[[Sequence[T]], list[Any]]) -> RedisNotNow | None:
        items = _take_oldest(waiting, batch)
        if not items:
            return None
        try:
            answers = send(items)
        except RedisAway:
            waiting.extendleft(reversed(items))
            raise
        answered = list(zip(items, map(not_now, answers), strict=False))
        waiting.extendleft(item for item, later in reversed(answered) if later is not None)
        return next((later for _, later in answered if later is not None), None)

    def _send_deferred(self, waiting: Sequence[tuple[str, float]]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id, due_in in waiting:
                seconds = self._reply_ttl + max(0, math.ceil(due_in))
                pipe.set(RESULT_PREFIX + task_id, celery_deferred(task_id), ex=seconds, nx=True)
            answers = answers_of(pipe)
        for problem, count in Counter(filter(None, map(refusal, answers))).items():
            self._refusals.note(f"{RESULT_PREFIX}*", "deferred", problem, REMEDY, count)
        return answers

    def _send_events(self, events: Sequence[tuple[str, bytes]]) -> list[Any]:
        """Return the answers to the events, and behind them those to what lets each stream end."""
        keys = sorted({f"worker68:events:{account}" for account, _ in events})
        with self._redis.pipeline(transaction=False) as pipe:
            for account, raw in events:
                pipe.xadd(f"worker68:events:{account}", {"event": raw}, maxlen=STREAM_LENGTH, approximate=True)
            for key in keys:
                pipe.expire(key, self._reply_ttl)
            answers = answers_of(pipe)
        refused = Counter(
            (f"worker68:events:{account}", problem)
            for (account, _), answer in zip(events, answers, strict=False)
            if (problem := refusal(answer)) is not None
        )
        for (key, problem), count in refused.items():
            self.events_dropped.inc(count)
            self._refusals.note(key, "event", problem, REMEDY, count)
        for key, answer in zip(keys, answers[len(events) :], strict=True):
            if (problem := refusal(answer)) is not None:
                self._refusals.note(key, "expiry", problem, REMEDY)
            elif all(key != name for name, _ in refused):
                self._refusals.taken(key)
        return answers


def _drop_oldest(waiting: deque[Any], limit: int) -> int:
    """Drop what is beyond the limit; return how much that was."""
    dropped = max(0, len(waiting) - limit)
    return len(_take_oldest(waiting, dropped))


def _take_oldest(waiting: deque[T], most: int) -> list[T]:
    taken: list[T] = []
    while len(taken) < most:
        try:
            taken.append(waiting.popleft())
        except IndexError:  # another thread was quicker
            break
    return taken
