"""The relay: what lies in the outbox is published to Redis, at least once, then deleted. A service of the loop; each pass runs in
the pool.

In: entries of the outbox, unsolicited events of the bridges, and Celery's ids of jobs that wait. Out: replies on lists and streams,
Celery's own results, set-aside messages on ``worker68:dead``, events on ``worker68:events:<account>``. Never: a decision about a
job; an entry published again that this process knows to be published.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from itertools import islice
from typing import Final, Protocol

import structlog
from redis import Redis

from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway, RedisNotNow
from worker68.execution.passing import Passing
from worker68.execution.publishing import DEAD_KEY, Published, Publisher, reply_key
from worker68.execution.refusals import Refusals
from worker68.execution.unread import Unread
from worker68.loop import Loop, Stopping, Wakeup
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.outbox import fetch, find_latest_addresses
from worker68.store.refused import end_refused, fetch_due, settle_outbox, settle_refused
from worker68.store.statements.outbox import OutboxEntry

__all__ = ["DEAD_KEY", "Ownership", "Relay"]

log = structlog.get_logger(__name__)

#: Entries in one round trip to Redis.
BATCH = 500
#: After a batch of so many entries more are coming: the next look waits a moment, so that each serves many.
BURST = 4
GATHER_SECONDS = 0.03
#: How often the outbox is looked into without being told: what another worker left is at most this late.
POLL_SECONDS = 5.0
#: Entries of another worker's account are left to it for this long.
STALE_AFTER = dt.timedelta(seconds=10)
#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0
#: An entry that Redis refuses for good is tried again after this, then after twice as long, up to the most. A batch each look.
RETRY_SECONDS: Final = 5.0
RETRY_MOST_SECONDS: Final = 300.0
#: The newest requesters, whose reply lists a worker cares for from its start: some milliseconds of SQL.
REQUESTERS_READ: Final = 5000
#: Between two looks for what would have ended in Redis by now, had Redis taken it.
END_SECONDS: Final = 3600.0

_FAILED = outages.Outage(
    "relay_failed", "relay_works_again", "a fault in worker68: replies wait in the outbox", fault=True
)


class Ownership(Protocol):
    """Whose entries are ours: asked before each look into the outbox."""

    def owned_accounts(self) -> list[str]: ...

    def others(self) -> list[str] | None: ...


class Relay:
    """Publishes until it is stopped. ``wake``, ``defer`` and ``publish_event`` may be called from any thread."""

    def __init__(self, engine: Engine, redis: Redis, reply_ttl_seconds: int, ownership: Ownership, loop: Loop) -> None:
        self._engine = engine
        self._reply_ttl = reply_ttl_seconds
        self._ownership = ownership
        self.refusals = Refusals()
        self.unread = Unread(redis, reply_ttl_seconds, self.refusals)
        self.passing = Passing(redis, reply_ttl_seconds, self.refusals)
        self._publisher = Publisher(redis, reply_ttl_seconds, self.refusals, self.unread)
        self._wakeup = Wakeup(loop)
        self._stopping = Stopping(loop)
        # What Redis has and the database still holds, by table and id: it is deleted only, however long that takes.
        self._taken: dict[tuple[bool, int], OutboxEntry] = {}
        self._retry_at = self._end_at = 0.0
        self._knows_lists = False  # to which replies went before this process began
        self._last_batch = 0  # the greatest of the last pass
        self.seconds = histogram("worker68_relay_seconds", "One batch of the outbox: read, published, deleted.")
        self.passed_at = monotonic()  # the end of the last pass, well or not

    async def run(self) -> None:
        """Publish until ``stop``, and then once more."""
        while not self._stopping.is_set():
            await self._wakeup.wait(POLL_SECONDS)
            well = await asyncio.to_thread(self._publish_all)
            self.passed_at = monotonic()
            if not well:
                await self._stopping.rest(PAUSE_SECONDS)
            elif self._last_batch >= BURST:
                await self._stopping.rest(GATHER_SECONDS)
        await asyncio.to_thread(self._publish_all)

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
            self._publish_outbox,
            self._retry_refused,
            self._find_lists,
            self.passing.publish,
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

    def _publish_outbox(self) -> None:
        self._last_batch = 0
        while self._publish_batch():
            pass

    def _publish_batch(self) -> bool:
        """Publish one batch; return whether there may be more."""
        owned, others = self._ownership.owned_accounts(), self._ownership.others()
        entries = fetch(self._engine, owned, others, utc_now() - STALE_AFTER, BATCH)
        self._last_batch = max(self._last_batch, len(entries))
        if not entries:
            return False
        began = monotonic()
        published, taken = self._publish(entries)
        problems = [(entry, published.refused[entry.id]) for entry in entries if entry.id in published.refused]
        settle_outbox(self._engine, taken, problems, utc_now() + _pause_after(0))
        self._forget_taken(taken)
        self.seconds.observe(monotonic() - began)
        if published.away is not None:
            raise published.away
        return len(entries) == BATCH

    def _retry_refused(self) -> None:
        """Try a batch of what Redis has refused, where it is due. Once one is taken, the rest follows without a pause."""
        if monotonic() < self._retry_at or self._stopping.is_set():
            return
        self._retry_at = monotonic() + POLL_SECONDS
        owned, others, now = self._ownership.owned_accounts(), self._ownership.others(), utc_now()
        if monotonic() >= self._end_at:
            self._end_at = monotonic() + END_SECONDS
            end_refused(self._engine, now - dt.timedelta(seconds=self._reply_ttl))
        entries = fetch_due(self._engine, owned, others, now, now - STALE_AFTER, BATCH)
        if not entries:
            return
        published, taken = self._publish(entries)
        problems = {
            entry.id: (published.refused[entry.id], now + _pause_after(entry.refusals))
            for entry in entries
            if entry.id in published.refused
        }
        settle_refused(self._engine, taken, problems)
        self._forget_taken(taken)
        if published.away is not None:
            raise published.away
        if taken:
            self._retry_at = 0.0
            self._wakeup.set()

    def _find_lists(self) -> None:
        """Once, as owner of the front door: care for the lists and streams to which replies went before this process began."""
        if not self._knows_lists and self._ownership.others() is not None:
            for address in find_latest_addresses(self._engine, REQUESTERS_READ):
                self.unread.note(reply_key(address))
            self._knows_lists = True

    def _publish(self, entries: Sequence[OutboxEntry]) -> tuple[Published, list[OutboxEntry]]:
        """Publish those that Redis has not yet; return what became of them, and all that need not be published any more."""
        before = {_place(entry) for entry in self._find_done(entries)}
        new = [entry for entry in entries if _place(entry) not in before]
        published = self._publisher.publish(new) if new else Published()
        self._taken.update((_place(entry), entry) for entry in new if entry.id in published.taken)
        for place in list(islice(self._taken, max(0, len(self._taken) - 4 * BATCH))):
            del self._taken[place]  # of an account that another worker owns by now
        done = self._find_done(entries)
        for entry in done:
            published.refused.pop(entry.id, None)
        return published, done

    def _find_done(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Return those that Redis has, and results of whose Celery id it has a later one: they would overwrite it."""
        latest: dict[str, int] = {}
        for one in self._taken.values():
            if one.kind == "result" and not one.refusals:
                latest[one.address] = max(one.id, latest.get(one.address, 0))

        def is_outdated(entry: OutboxEntry) -> bool:
            # What was refused came before all that is in the outbox now.
            number = 0 if entry.refusals else entry.id
            return entry.kind == "result" and latest.get(entry.address, 0) > number

        return [one for one in entries if self._taken.get(_place(one)) == one or is_outdated(one)]

    def _forget_taken(self, entries: Sequence[OutboxEntry]) -> None:
        for entry in entries:
            self._taken.pop(_place(entry), None)


def _place(entry: OutboxEntry) -> tuple[bool, int]:
    return entry.refusals > 0, entry.id


def _pause_after(refusals: int) -> dt.timedelta:
    """Return how long an entry that was refused so often before waits now."""
    return dt.timedelta(seconds=min(RETRY_SECONDS * 2 ** min(refusals, 16), RETRY_MOST_SECONDS))
