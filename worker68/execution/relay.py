"""The relay: what lies in the outbox is published to Redis, at least once, then deleted. A service of the loop; each pass runs in
the pool.

In: entries of the outbox, unsolicited events of the bridges, and Celery's ids of jobs that wait. Out: replies on lists and streams,
Celery's own results, set-aside messages on ``worker68:dead``, events on ``worker68:events:<account>``. Never: a decision about a
job; a step of a pass that holds up another one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

from redis import Redis

from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway, RedisNotNow
from worker68.execution.passing import Passing
from worker68.execution.publishing import BATCH, STALE_AFTER, Ownership, Publisher
from worker68.execution.refusals import Refusals
from worker68.execution.unread import Unread
from worker68.loop import Loop, Stopping, Wakeup
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.outbox import (
    end_refused,
    fetch,
    fetch_due,
    find_latest_addresses,
    settle_outbox,
    settle_refused,
)

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

    def defer(self, waiting: Sequence[tuple[str, float]]) -> None:
        """Let Celery's results say DEFERRED where they say nothing yet: by their ids, each with the seconds until it is due."""
        if waiting:
            self.passing.defer(waiting)
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


#: The newest requesters, whose reply lists a worker cares for from its start: some milliseconds of SQL.
REQUESTERS_READ: Final = 5000


class Outbox:
    """Publishes the outbox, batch by batch in the order of its entries, and deletes what Redis has: never anything else.

    What Redis refuses for good is moved to the table of refused entries. Raises ``DatabaseAway``, and ``RedisAway``: then what is
    not published stays where it is.
    """

    def __init__(self, engine: Engine, publisher: Publisher, ownership: Ownership) -> None:
        self._engine = engine
        self._publisher = publisher
        self._ownership = ownership
        self._knows_lists = False  # to which replies went before this process began
        self.seconds = histogram("worker68_relay_seconds", "One batch of the outbox: read, published, deleted.")
        self.greatest_batch = 0  # of the last pass

    def publish(self) -> None:
        """Publish all that is there."""
        self.greatest_batch = 0
        while self._publish_batch() == BATCH:
            pass

    def find_lists(self) -> None:
        """Once, as owner of the front door: care for the lists and streams to which replies went before this process began."""
        if not self._knows_lists and self._ownership.others() is not None:
            self._publisher.care_for(find_latest_addresses(self._engine, REQUESTERS_READ))
            self._knows_lists = True

    def _publish_batch(self) -> int:
        """Publish one batch; return its size."""
        owned, others = self._ownership.owned_accounts(), self._ownership.others()
        entries = fetch(self._engine, owned, others, utc_now() - STALE_AFTER, BATCH)
        self.greatest_batch = max(self.greatest_batch, len(entries))
        if not entries:
            return 0
        began = monotonic()
        published = self._publisher.publish(entries)
        settle_outbox(self._engine, published.done, published.refused, utc_now() + pause_after(0))
        self._publisher.forget(published.done)
        self.seconds.observe(monotonic() - began)
        if published.away is not None:
            raise published.away
        return len(entries)


#: Between two looks for what is due.
RETRY_LOOK_SECONDS: Final = 5.0
#: An entry is tried again after this, then after twice as long, up to the most.
RETRY_SECONDS: Final = 5.0
RETRY_MOST_SECONDS: Final = 300.0
#: Between two looks for what would have ended in Redis by now, had Redis taken it.
END_SECONDS: Final = 3600.0


class Retries:
    """Tries refused entries again after growing pauses. A reply never ends here; Celery's states do when they would have in Redis.

    Raises ``DatabaseAway`` and ``RedisAway``.
    """

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
        self._look_at = monotonic() + RETRY_LOOK_SECONDS
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
