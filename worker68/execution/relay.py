"""The relay: what lies in the outbox is published to Redis, at least once, then deleted. A service of the loop; each pass runs in
the pool.

In: entries of the outbox, unsolicited events of the bridges, and Celery's ids of jobs that wait. Out: replies on lists and streams,
Celery's own results, set-aside messages on ``worker68:dead``, events on ``worker68:events:<account>``. Never: a decision about a
job; a step of a pass that holds up another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis import Redis

from worker68.clock import monotonic
from worker68.errors import DatabaseAway, RedisAway, RedisNotNow
from worker68.execution.outbox import Outbox
from worker68.execution.passing import Passing
from worker68.execution.publishing import Ownership, Publisher
from worker68.execution.refusals import Refusals
from worker68.execution.retries import Retries
from worker68.execution.unread import Unread
from worker68.loop import Loop, Stopping, Wakeup
from worker68.observe import outages
from worker68.store.engine import Engine

#: After a batch of so many entries more are coming: the next look waits a moment, so that each serves many.
BURST = 4
GATHER_SECONDS = 0.03
#: How often the outbox is looked into without a wake-up: what another worker left is at most this late.
POLL_SECONDS = 5.0
#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0

_FAILED = outages.Outage(
    "relay_failed", "relay_works_again", "a fault in worker68: replies wait in the outbox", fault=True
)


class Relay:
    """Publishes until it is stopped. ``wake``, ``defer`` and ``publish_event`` may be called from any thread."""

    def __init__(self, engine: Engine, redis: Redis, reply_ttl_seconds: int, ownership: Ownership, loop: Loop) -> None:
        self.refusals = Refusals()
        self.unread = Unread(redis, reply_ttl_seconds, self.refusals)
        self.passing = Passing(redis, reply_ttl_seconds, self.refusals)
        publisher = Publisher(redis, reply_ttl_seconds, self.refusals, self.unread)
        self.outbox = Outbox(engine, publisher, ownership)
        self._retries = Retries(engine, publisher, ownership, reply_ttl_seconds)
        self._wakeup = Wakeup(loop)
        self._stopping = Stopping(loop)
        self.passed_at = monotonic()  # the end of the last pass, well or not

    async def run(self) -> None:
        """Publish until ``stop``, and then once more."""
        while not self._stopping.is_set():
            await self._wakeup.wait(POLL_SECONDS)
            well = await asyncio.to_thread(self._publish_all)
            self.passed_at = monotonic()
            if not well:
                await self._stopping.rest(PAUSE_SECONDS)
            elif self.outbox.greatest_batch >= BURST:
                await self._stopping.rest(GATHER_SECONDS)
        await asyncio.to_thread(self._publish_all)
        self.passing.drop()

    def stop(self) -> None:
        self._stopping.set()
        self._wakeup.set()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wakeup.set()

    def defer(self, task_ids: Sequence[str]) -> None:
        """Let Celery's result say DEFERRED where it says nothing yet."""
        if task_ids:
            self.passing.defer(task_ids)
            self._wakeup.set()

    def publish_event(self, account: str, raw: bytes) -> None:
        """Put an unsolicited event of the bridge on the account's stream."""
        self.passing.add_event(account, raw)
        self._wakeup.set()

    def _publish_all(self) -> bool:
        """Take every step: a database that is away, or a key that is refused, must hold up no step that does not need it.

        A Redis that does not answer ends the pass: each step would wait for it. Return whether all went well.
        """
        away_or_failed: set[outages.Outage] = set()
        for step in (
            self.outbox.publish,
            self._retry_refused,
            self.outbox.find_lists,
            self._pass_on,
            self.unread.look,
        ):
            try:
                step()
            except DatabaseAway as away:
                away_or_failed.add(outages.DATABASE)
                outages.DATABASE.fails("relay", away)
            except RedisAway as away:
                away_or_failed.add(outages.REDIS)
                outages.REDIS.fails("relay", away)
                if not isinstance(away, RedisNotNow):
                    break
            except BaseException as error:  # noqa: BLE001 - whatever it is: nothing else publishes
                away_or_failed.add(_FAILED)
                _FAILED.fails("relay", error)
        for outage in {outages.DATABASE, outages.REDIS, _FAILED} - away_or_failed:
            outage.works("relay")
        if away_or_failed or self.passing.waiting:
            self._wakeup.set()
        return not away_or_failed

    def _retry_refused(self) -> None:
        if not self._stopping.is_set() and self._retries.publish():
            self._wakeup.set()

    def _pass_on(self) -> None:
        """Pass on a batch of events; the last pass passes on all."""
        self.passing.publish()
        while self._stopping.is_set() and self.passing.waiting:
            self.passing.publish()
