"""What the database could not take yet and must outlive this process: Redis keeps it until the database has it.

In: how an attempt ended, or evidence that came late, while the database is away. Out: the same, for the account's next owner.
Never: the only copy for longer than the database is away; a decision about a job.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog
from redis import Redis
from redis.exceptions import ResponseError

from worker68.bridge.correlation import LateEvidence
from worker68.errors import RedisAway, Worker68Error
from worker68.jobs.outcome import Outcome
from worker68.observe import outages
from worker68.redis_calls import redis_errors, refusal
from worker68.store.engine import Connection
from worker68.store.statements import attempts
from worker68.store.statements.attempts import AttemptKey

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


def record(connection: Connection, note: Ended | BackedOff | NotWritten, now: dt.datetime) -> bool:
    """Write down how an attempt ended, where no other worker has written otherwise meanwhile."""
    match note:
        case Ended():
            return attempts.settle(connection, [(note.attempt, note.outcome)], now)[0]
        case BackedOff():
            return attempts.back_off(connection, note.attempt, note.due_at, note.ending, note.reason, now)
        case NotWritten():
            return attempts.give_back(connection, note.attempt)


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
