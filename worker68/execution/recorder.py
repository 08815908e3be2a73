"""Writing down how an attempt went, however long the database is away.

In: a write, and a note of what it would write. Out: the write's result, once it is committed. While the database is away the note
lies in Redis, so that what was seen outlives this worker; it is dropped before the job goes on. The account's next owner reads what
is left there, late evidence too. Never: an end of the wait while the worker runs; the only copy of a note in Redis for longer than
the database is away.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import structlog
from redis import Redis
from redis.exceptions import ResponseError

from worker68.bridge.correlation import LateEvidence
from worker68.clock import Deadline
from worker68.errors import DatabaseAway, RedisAway, Worker68Error
from worker68.jobs.outcome import ErrorCode, Outcome, failed, whole_outcome
from worker68.loop import Stopping, Waiter
from worker68.observe import outages
from worker68.redis_calls import redis_errors, refusal
from worker68.store.engine import Connection
from worker68.store.statements import attempts, outcomes
from worker68.store.statements.attempts import AttemptKey
from worker68.store.writer import Verb, Writer

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741

#: While the worker stops, a write waits this long for a database that is away: a moment where Redis keeps its note, longer where
#: nothing does.
LAST_WRITE_SECONDS = 15.0
LAST_WRITE_WITH_NOTE_SECONDS = 4.0
#: Between two tries to reach a database, or a Redis, that is away.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Recorder:
    """Records the attempts of one account. On the loop."""

    account: str
    kept: Kept
    stopping: Stopping

    async def until_written(self, write: Callable[[], Awaitable[T]], note: Note | None = None) -> T:
        """Write, as often as it takes. Raises ``DatabaseAway`` only while the worker stops.

        ``note``: what the next owner is to write down where this worker cannot. It is kept also where the wait is broken off.
        """
        try:
            return await self._until_written(write, note)
        except asyncio.CancelledError:
            # The process ends, and nothing will learn what became of the write: the database may hang, and then refuse it.
            if note is not None:
                await asyncio.to_thread(try_to_keep, self.kept, self.account, note)
            raise

    async def _until_written(self, write: Callable[[], Awaitable[T]], note: Note | None) -> T:
        given_up: Deadline | None = None
        maybe_kept = kept = failed = False
        while True:
            try:
                answer = await write()
            except DatabaseAway as away:
                outages.DATABASE.fails("recorder", away)
                failed = True
                if note is not None and not kept:
                    was_kept = await asyncio.to_thread(try_to_keep, self.kept, self.account, note)
                    kept, maybe_kept = was_kept is True, maybe_kept or was_kept is not False
                if self.stopping.is_set():
                    given_up = given_up or Deadline.after(LAST_WRITE_WITH_NOTE_SECONDS if kept else LAST_WRITE_SECONDS)
                    if given_up.passed:
                        raise
                await self._pause()
            else:
                if failed:  # of those that wait for it, the first
                    outages.DATABASE.works("recorder")
                if note is not None and maybe_kept:
                    await self._forget(note)
                return answer

    async def _forget(self, note: Note) -> None:
        """Drop a note before its job goes on: a later attempt may look the same, and it must not be taken for that one's.

        Also where Redis took the note and now refuses to drop it: until a person has set the key right.
        """
        while True:
            try:
                await asyncio.to_thread(self.kept.forget, self.account, note)
                return outages.REDIS.works("recorder")
            except (RedisAway, NotesRefused) as away:
                outages.REDIS.fails("recorder", away)
                if self.stopping.is_set():
                    return None  # this worker begins no further attempt
                await self._pause()

    async def _pause(self) -> None:
        if self.stopping.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            await self.stopping.rest(PAUSE_SECONDS)


async def written(writer: Writer, verb: Verb[I, T], item: I) -> T:
    """Hand something to the writer and wait until it is committed, as ``Writer.write`` does. On the loop."""
    answer: Waiter[Any] = Waiter()
    writer.hand_in(verb, item, answer.tell)
    result: T = await answer
    return result


log = structlog.get_logger(__name__)

_REFUSED = outages.Outage(
    "note_not_kept",
    "notes_kept_again",
    "the outcome is in memory alone until the database is back: do not stop the worker before",
)


class _OfAttempt(msgspec.Struct, frozen=True):
    """Something about one attempt: two notes about the same one would contradict each other."""

    attempt: AttemptKey

    @property
    def field(self) -> str:
        return f"{self.attempt.seq}:{self.attempt.number}:{self.attempt.fence}"


class Ended(_OfAttempt, frozen=True, tag="ended"):
    """The attempt brought the job to its outcome."""

    outcome: Outcome


class BackedOff(_OfAttempt, frozen=True, tag="backed_off"):
    """The attempt was spent, and the job is to be tried again."""

    due_at: dt.datetime
    ending: str
    reason: str


class NotWritten(_OfAttempt, frozen=True, tag="not_written"):
    """If the attempt was begun at all, not a byte of it was written."""


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """Late evidence that no job has taken yet."""

    evidence: LateEvidence

    @property
    def field(self) -> str:
        return f"seen:{self.evidence.custom_msg_id}"


Note = Ended | BackedOff | NotWritten | Seen

_decoder = msgspec.json.Decoder(Note)


class NotesRefused(Worker68Error):
    """Redis refuses the key of the notes for good: it is of another type, or worker68 has no right to it."""


class Kept:
    """The notes of each account, in one hash. Thread-safe. A note is kept once, however often it is handed in."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def keep(self, account: str, note: Note) -> None:
        """Keep a note until it is forgotten. Raises ``RedisAway``: it may be kept all the same; ``NotesRefused``: it is not."""
        with _naming(account):
            self._redis.hset(_key(account), note.field, msgspec.json.encode(note))

    def forget(self, account: str, note: Note) -> None:
        """Drop a note that the database has. Raises ``RedisAway`` and ``NotesRefused``: it may be there still."""
        with _naming(account):
            self._redis.hdel(_key(account), note.field)

    def load(self, account: str) -> list[Note]:
        """Return what is kept for the account. Raises ``RedisAway`` and ``NotesRefused``."""
        with _naming(account):
            entries: Any = self._redis.hgetall(_key(account))  # its own type allows for every reply of every mode
        notes = []
        for field, entry in sorted(entries.items()):
            try:
                notes.append(_decoder.decode(entry))
            except ValueError:
                log.exception(
                    "kept_note_not_readable", account=account, field=field, remedy="look at the key, delete it"
                )
        return notes


NOT_WRITTEN = failed(ErrorCode.NOT_SENT, "the worker that had begun it was out of touch, and had not written a byte")


def record(connection: Connection, note: Ended | BackedOff | NotWritten, now: dt.datetime) -> bool:
    """Write down how an attempt ended. Where its next owner has called it in doubt meanwhile, what was seen corrects that."""
    seq = note.attempt.seq
    match note:
        case Ended():
            settled = attempts.settle(connection, [(note.attempt, note.outcome)], now)[0]
            return settled or attempts.revise(connection, seq, note.outcome, now, note.attempt)
        case BackedOff():
            return attempts.back_off(connection, note.attempt, note.due_at, note.ending, note.reason, now)
        case NotWritten():
            if attempts.give_back(connection, note.attempt):
                return True
            whole = whole_outcome(NOT_WRITTEN, outcomes.find_done(connection, seq))
            return attempts.revise(connection, seq, whole, now, note.attempt)


def try_to_keep(kept: Kept, account: str, note: Note) -> bool | None:
    """Keep a note; return whether it is certainly kept, None where it may be."""
    try:
        kept.keep(account, note)
    except RedisAway as away:
        outages.REDIS.fails("kept", away)
        return None
    except NotesRefused as refused:
        _REFUSED.fails("kept", refused)
        return False
    for outage in (outages.REDIS, _REFUSED):
        outage.works("kept")
    return True


@contextmanager
def _naming(account: str) -> Iterator[None]:
    try:
        with redis_errors():
            yield
    except ResponseError as error:
        raise NotesRefused(f"Redis refuses {_key(account)} ({refusal(error)}): delete it if it is no hash") from error


def _key(account: str) -> str:
    return f"worker68:kept:{account}"
