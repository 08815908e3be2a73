"""The relay: what lies in the outbox is published to Redis, at least once, then deleted.

In: parcels of the outbox, and unsolicited events of the bridges. Out: replies on lists and streams, Celery's own results, set-aside
messages on ``worker68:dead``, events on ``worker68:events:<account>``. Never: a decision about a job.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.reply_keys import ReplyKeys
from worker68.execution.unread import Unread
from worker68.jobs.reply import celery_deferred
from worker68.observe import outages
from worker68.observe.latency import Latency
from worker68.store.engine import Engine
from worker68.store.outbox import Parcel, fetch, forget

log = structlog.get_logger(__name__)

DEAD_KEY = "worker68:dead"
#: Celery's result backend keeps a task's result under this prefix, and publishes it on a channel of the same name.
RESULT_PREFIX = "celery-task-meta-"

#: Parcels in one round trip to Redis.
BATCH = 500
#: After a batch of so many parcels more are coming: the next look waits a moment, so that each serves many.
BURST = 4
GATHER_SECONDS = 0.03
#: How often the outbox is looked into without being told: what another worker left is at most this late.
POLL_SECONDS = 5.0
#: Parcels of another worker's account are left to it for this long.
STALE_AFTER = dt.timedelta(seconds=10)
#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0
#: Events that wait for Redis; the oldest are dropped and counted beyond it, so that a Redis that is away costs no memory.
EVENTS_LIMIT = 10_000
#: About how many events one stream keeps: nobody may be reading.
STREAM_LENGTH = 100_000

_FAILED = outages.Outage(
    "relay_failed", "relay_works_again", "a fault in worker68: replies wait in the outbox", fault=True
)


class Ownership(Protocol):
    """Whose parcels are ours: asked before each look into the outbox."""

    def owned_accounts(self) -> list[str]: ...

    def others(self) -> list[str] | None: ...


class Relay:
    """One thread that publishes. ``wake``, ``defer`` and ``publish_event`` may be called from any thread."""

    def __init__(self, engine: Engine, redis: Redis, reply_ttl_seconds: int, ownership: Ownership) -> None:
        self._engine = engine
        self._redis = redis
        self._reply_ttl = reply_ttl_seconds  # after it, what nobody read is forgotten
        self._ownership = ownership
        self.unread = Unread(redis, reply_ttl_seconds)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._events: deque[tuple[str, bytes]] = deque(maxlen=EVENTS_LIMIT)
        self._deferred: deque[str] = deque()
        self._last_batch = 0  # the greatest of the last pass
        self.events_dropped = 0
        self.reply_keys = ReplyKeys()
        self.latency = Latency()  # of one batch: fetched, published, deleted
        self.passed_at = monotonic()  # the end of the last pass, well or not
        self._thread = threading.Thread(target=self._run, name="worker68-relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what is there, once, then end the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def defer(self, task_ids: Sequence[str]) -> None:
        """Let Celery's result say DEFERRED where it says nothing yet."""
        if not task_ids:
            return
        self._deferred.extend(task_ids)
        self._wake.set()

    def publish_event(self, account: str, raw: bytes) -> None:
        """Put an unsolicited event of the bridge on the account's stream."""
        if len(self._events) == EVENTS_LIMIT:
            self.events_dropped += 1
        self._events.append((account, raw))
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(POLL_SECONDS)
            if self._last_batch >= BURST:
                self._stopping.wait(GATHER_SECONDS)
            self._wake.clear()
            self._publish_all()
            self.passed_at = monotonic()
        self._publish_all()

    def _publish_all(self) -> None:
        """Take every step: a database that is away must not hold up events, nor a refused event the replies."""
        away_or_failed: set[outages.Outage] = set()
        for step in (self._publish_parcels, self._publish_deferred, self._publish_events, self.unread.look):
            try:
                step()
            except DatabaseAway as away:
                away_or_failed.add(outages.DATABASE)
                outages.DATABASE.fails("relay", away)
            except (RedisError, RedisAway) as error:
                away_or_failed.add(outages.REDIS)
                outages.REDIS.fails("relay", error)
                break
            except BaseException as error:  # noqa: BLE001 - whatever it is: no other thread publishes
                away_or_failed.add(_FAILED)
                _FAILED.fails("relay", error)
        for outage in {outages.DATABASE, outages.REDIS, _FAILED} - away_or_failed:
            outage.works("relay")
        if away_or_failed:
            self._stopping.wait(PAUSE_SECONDS)
            self._wake.set()

    def _publish_parcels(self) -> None:
        self._last_batch = 0
        while self._publish_batch():
            pass

    def _publish_batch(self) -> bool:
        """Publish one batch; return whether there may be more."""
        owned, others = self._ownership.owned_accounts(), self._ownership.others()
        parcels = fetch(self._engine, owned, others, utc_now() - STALE_AFTER, BATCH)
        self._last_batch = max(self._last_batch, len(parcels))
        if not parcels:
            return False
        began = monotonic()
        with self._redis.pipeline(transaction=False) as pipe:
            sizes = [self._add(pipe, parcel) for parcel in parcels]
            answers = pipe.execute(raise_on_error=False)
        published = []
        for parcel, size in zip(parcels, sizes, strict=True):
            failures = [answer for answer in answers[:size] if isinstance(answer, Exception)]
            answers = answers[size:]
            if not failures or self._set_aside(parcel, failures[0]):
                published.append(parcel.id)
        forget(self._engine, published)
        self.latency.observe(monotonic() - began)
        if len(published) < len(parcels):
            raise OutOfMemoryError("Redis refused some replies; they stay in the outbox")
        return len(parcels) == BATCH

    def _add(self, pipe: Pipeline, parcel: Parcel) -> int:
        """Add the commands that publish a parcel; return how many."""
        ttl = self._reply_ttl
        if parcel.kind == "result":
            key = RESULT_PREFIX + parcel.address
            pipe.set(key, parcel.payload, ex=ttl)
            pipe.publish(key, parcel.payload)
            return 2
        if parcel.kind == "deferred":
            self._add_deferred(pipe, parcel.address, parcel.payload)
            return 1
        if parcel.kind == "dead":
            pipe.rpush(DEAD_KEY, parcel.payload)
            return 1
        if parcel.address.startswith("stream:"):
            key = f"worker68:replies:{parcel.address.removeprefix('stream:')}:stream"
            pipe.xadd(key, {"reply": parcel.payload})
        else:
            key = f"worker68:replies:{parcel.address}"
            pipe.rpush(key, parcel.payload)
        pipe.expire(key, ttl)
        self.reply_keys.note(key, is_stream=key.endswith(":stream"))
        self.unread.note(key)
        return 2

    def _add_deferred(self, pipe: Pipeline, task_id: str, entry: str) -> None:
        """Let Celery's result say that a job waits; never over a result, which a job that has ended meanwhile keeps."""
        pipe.set(RESULT_PREFIX + task_id, entry, ex=self._reply_ttl, nx=True)

    def _set_aside(self, parcel: Parcel, failure: Exception) -> bool:
        """Set a parcel aside that Redis will never take (its key is of another type); False if it may later."""
        if not isinstance(failure, ResponseError) or not str(failure).startswith("WRONGTYPE"):
            return False
        log.error("reply_set_aside", address=parcel.address, problem=str(failure), remedy="look at worker68:dead")
        entry = {"reason": str(failure), "address": parcel.address, "message": parcel.payload}
        self._redis.rpush(DEAD_KEY, msgspec.json.encode(entry))
        return True

    def _publish_deferred(self) -> None:
        waiting = [self._deferred.popleft() for _ in range(min(len(self._deferred), 10 * BATCH))]
        if not waiting:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for task_id in waiting:
                    self._add_deferred(pipe, task_id, celery_deferred(task_id))
                pipe.execute()
        except RedisError:
            self._deferred.extendleft(reversed(waiting))
            raise

    def _publish_events(self) -> None:
        waiting = [self._events.popleft() for _ in range(min(len(self._events), BATCH))]
        if not waiting:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for account, raw in waiting:
                    pipe.xadd(f"worker68:events:{account}", {"event": raw}, maxlen=STREAM_LENGTH, approximate=True)
                    pipe.expire(f"worker68:events:{account}", self._reply_ttl)
                answers = pipe.execute(raise_on_error=False)
        except RedisError:
            self._events.extendleft(reversed(waiting))
            raise
        if refusals := [answer for answer in answers if isinstance(answer, ResponseError)]:
            self.events_dropped += len(refusals)
            log.error(
                "events_refused", count=len(refusals), problem=str(refusals[0]), remedy="look at worker68:events:*"
            )
        if self._events:
            self._wake.set()
