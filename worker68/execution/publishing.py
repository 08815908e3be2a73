"""Publishing entries to Redis: one batch in one round trip, and what became of each.

In: entries. Out: those that Redis has, those that it refuses for good and why, and whether it refuses others at present. Never: one
entry that holds up another; an entry published again that this process knows to be published; the database.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

import msgspec
import structlog

from worker68.errors import RedisAway
from worker68.execution.refusals import Refusals
from worker68.execution.unread import Unread
from worker68.redis_calls import answers_of, not_now, refusal
from worker68.store.statements.outcomes import OutboxEntry

log = structlog.get_logger(__name__)

DEAD_KEY: Final = "worker68:dead"
#: Celery's result backend keeps a task's result under this prefix, and publishes it on a channel of the same name.
RESULT_PREFIX: Final = "celery-task-meta-"

REMEDY: Final = (
    "delete or rename a key of another type, or give worker68 the right; what waits is tried again by itself"
)


#: Entries in one round trip to Redis.
BATCH: Final = 500
#: Entries of another worker's account are left to it for this long.
STALE_AFTER: Final = dt.timedelta(seconds=10)


class Ownership(Protocol):
    """Whose entries are ours: asked before each look into the outbox."""

    def owned_accounts(self) -> list[str]: ...

    def others(self) -> list[str] | None: ...


@dataclass
class Published:
    """What became of a batch. ``done``: only to be deleted. What is in neither of the two stays where it is; ``away`` says why."""

    done: list[OutboxEntry] = field(default_factory=list)
    refused: list[tuple[OutboxEntry, str]] = field(default_factory=list)
    away: RedisAway | None = None


class Publisher:
    """Knows how each kind of entry is published, and what is published already. For the relay's pass."""

    def __init__(self, redis: Any, reply_ttl_seconds: int, refusals: Refusals, unread: Unread) -> None:
        self._redis = redis
        self._reply_ttl = reply_ttl_seconds  # after it, an unread reply is deleted
        self._refusals = refusals
        self._unread = unread
        self._undeleted = Undeleted()

    def publish(self, entries: Sequence[OutboxEntry]) -> Published:
        """Publish those of a batch that Redis does not have yet.

        Raises ``RedisAway`` where Redis did not answer: then any of it may be published or not.
        """
        before = {entry.id for entry in self._undeleted.find_done(entries)}
        new = [entry for entry in entries if entry.id not in before]
        published = self._publish(new) if new else Published()
        self._undeleted.add(published.done)
        published.done = self._undeleted.find_done(entries)
        done = {entry.id for entry in published.done}
        published.refused = [(entry, problem) for entry, problem in published.refused if entry.id not in done]
        return published

    def forget(self, entries: Iterable[OutboxEntry]) -> None:
        """Forget entries that the database has deleted."""
        self._undeleted.forget(entries)

    def care_for(self, addresses: Iterable[str]) -> None:
        """Look after the unread replies of these addresses as of those published to."""
        for address in addresses:
            self._unread.note(reply_key(address))

    def _publish(self, entries: Sequence[OutboxEntry]) -> Published:
        with self._redis.pipeline(transaction=False) as pipe:
            sizes = [self._add(pipe, entry) for entry in entries]
            answers = iter(answers_of(pipe))
        published = Published()
        wrong_type: list[tuple[OutboxEntry, str]] = []
        for entry, size in zip(entries, sizes, strict=True):
            answer, *further = islice(answers, size)
            if (error := not_now(answer)) is not None:
                published.away = error
            elif (problem := refusal(answer)) is None:
                published.done.append(entry)
                self._note_taken(entry, further)
            elif entry.kind == "reply" and problem.startswith("WRONGTYPE"):
                wrong_type.append((entry, problem))
            else:
                published.refused.append((entry, problem))
        refused = [*wrong_type, *published.refused]
        self._note_refused((key_of(entry), entry.kind, problem) for entry, problem in refused)
        if wrong_type:
            self._set_aside(wrong_type, published)
        return published

    def _add(self, pipe: Any, entry: OutboxEntry) -> int:
        """Add the commands that publish an entry; return how many. The first one publishes it, whatever becomes of the second."""
        if entry.kind == "result":
            key = RESULT_PREFIX + entry.address
            pipe.set(key, entry.payload, ex=self._reply_ttl)
            pipe.publish(key, entry.payload)
            return 2
        if entry.kind == "deferred":
            # Never over a result, which a job that has ended meanwhile keeps.
            pipe.set(RESULT_PREFIX + entry.address, entry.payload, ex=self._reply_ttl, nx=True)
            return 1
        key = key_of(entry)
        if entry.kind == "dead":
            pipe.rpush(key, entry.payload)
            return 1
        if entry.address.startswith("stream:"):
            pipe.xadd(key, {"reply": entry.payload})
        else:
            pipe.rpush(key, entry.payload)
        pipe.expire(key, self._reply_ttl)
        return 2

    def _note_taken(self, entry: OutboxEntry, further: Sequence[Any]) -> None:
        key = key_of(entry)
        self._refusals.taken(key)
        if entry.kind == "reply":
            self._unread.note(key)
        what, place = ("expiry", key) if entry.kind == "reply" else ("announcement", f"channel {key}")
        for answer in further:
            if (problem := refusal(answer)) is not None:
                self._refusals.note(place, what, problem, REMEDY)
            elif entry.kind == "result":
                self._refusals.taken(place)

    def _set_aside(self, entries: Sequence[tuple[OutboxEntry, str]], published: Published) -> None:
        """Set replies aside that Redis will never take: their key is of another type. Where it refuses that as well, they wait."""
        with self._redis.pipeline(transaction=False) as pipe:
            for entry, reason in entries:
                dead = {"reason": reason, "address": entry.address, "message": entry.payload}
                pipe.rpush(DEAD_KEY, msgspec.json.encode(dead))
            try:
                answers = answers_of(pipe)
            except RedisAway as away:
                published.away = away
                return
        addresses: Counter[str] = Counter()
        for (entry, _), answer in zip(entries, answers, strict=True):
            if (error := not_now(answer)) is not None:
                published.away = error
            elif (problem := refusal(answer)) is None:
                published.done.append(entry)
                addresses[entry.address] += 1
            else:
                published.refused.append((entry, problem))
                self._note_refused([(DEAD_KEY, "dead", problem)])
        for address, count in addresses.items():
            log.error("reply_set_aside", address=address, count=count, remedy="look at worker68:dead")

    def _note_refused(self, refused: Iterable[tuple[str, str, str]]) -> None:
        for (key, what, problem), count in Counter(refused).items():
            self._refusals.note(key, what, problem, REMEDY, count)


def key_of(entry: OutboxEntry) -> str:
    """Return the key where an entry is published; for a result, of which each has its own key, what they have in common."""
    if entry.kind in ("result", "deferred"):
        return f"{RESULT_PREFIX}*"
    if entry.kind == "dead":
        return DEAD_KEY
    return reply_key(entry.address)


def reply_key(address: str) -> str:
    """Return the list or stream where the replies to a ``reply_to`` are published."""
    if address.startswith("stream:"):
        return f"worker68:replies:{address.removeprefix('stream:')}:stream"
    return f"worker68:replies:{address}"


#: Some batches: beyond it are those of accounts that another worker owns by now, which deletes them.
MOST: Final = 2000


class Undeleted:
    """Entries that Redis has and the database still holds, so that none is published a second time; ``MOST`` of them.

    By table and id: an entry that was refused before stands in another table than one that is new.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[bool, int], OutboxEntry] = {}

    def add(self, entries: Iterable[OutboxEntry]) -> None:
        """Remember what Redis has taken."""
        self._entries.update((_place(entry), entry) for entry in entries)
        for place in list(islice(self._entries, max(0, len(self._entries) - MOST))):
            del self._entries[place]

    def forget(self, entries: Iterable[OutboxEntry]) -> None:
        """Forget what the database has deleted."""
        for entry in entries:
            self._entries.pop(_place(entry), None)

    def find_done(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Return those that Redis has, and results of whose Celery id it has a later one: they would overwrite it."""
        latest: dict[str, int] = {}
        for one in self._entries.values():
            if one.kind == "result" and not one.refusals:
                latest[one.address] = max(one.id, latest.get(one.address, 0))

        def is_outdated(entry: OutboxEntry) -> bool:
            # What was refused came before all that is in the outbox now.
            number = 0 if entry.refusals else entry.id
            return entry.kind == "result" and latest.get(entry.address, 0) > number

        return [one for one in entries if self._entries.get(_place(one)) == one or is_outdated(one)]


def _place(entry: OutboxEntry) -> tuple[bool, int]:
    return entry.refusals > 0, entry.id
