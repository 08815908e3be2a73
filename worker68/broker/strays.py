"""What lies in Redis and may be missed: messages that no worker takes, replies that are not read.

In: the accounts of settings and database. Out: lists and their lengths. Reads only, with SCAN, whose steps are short; never
KEYS. A look ends after a number of keys, and the next one goes on there: Redis may hold millions of Celery's results.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from worker68.broker.place import FRONT_DOOR, SEPARATORS, lists_of, queue_of
from worker68.clock import Deadline
from worker68.fleet.leases import account_lease, read_owners
from worker68.redis_calls import redis_errors

#: The queue of a producer that names none.
CELERY_QUEUE: Final = "celery"

#: Keys that one SCAN looks at: half a millisecond of Redis.
KEYS_PER_STEP: Final = 1000
#: Lists whose lengths are asked for in one trip.
LISTS_PER_TRIP: Final = 1000
#: Of each list of the queue `celery`, so many messages from either end are looked at.
LOOKED_AT: Final = 50

_QUEUE: Final = re.compile(rf"{FRONT_DOOR}\.(?P<account>.+?)(?:(?:{'|'.join(SEPARATORS)})\d+)?")
#: The front door's lists of other priorities than those that are read, as far as a producer's own steps go.
_FRONT_STEPS: Final = tuple(
    key
    for step in range(10)
    for separator in SEPARATORS
    if (key := f"{FRONT_DOOR}{separator}{step}") not in lists_of(FRONT_DOOR)
)
_REPLIES: Final = re.compile(r"worker68:replies:(?P<name>[^:]+)")


@dataclass(frozen=True)
class Strays:
    """``unknown``: messages by account that no settings and no worker have. ``celery``: ours among those looked at on that queue.

    ``steps``: the lengths of lists for priorities that no worker reads, by their keys: their producer has other steps than Celery.
    ``replies``: the lengths of the lists of replies by their keys. ``complete``: whether all keys were looked at.
    """

    unknown: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    celery: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    complete: bool = True


def count_messages(redis: Any, queues: Sequence[str]) -> dict[str, int]:
    """Return how many messages lie in each of these queues. A list whose key is of another type counts as none."""
    with redis.pipeline(transaction=False) as pipe:
        for queue in queues:
            for key in lists_of(queue):
                pipe.llen(key)
        answers = iter(pipe.execute(raise_on_error=False))
    lengths = {queue: [next(answers) for _ in lists_of(queue)] for queue in queues}
    return {queue: sum(one for one in found if isinstance(one, int)) for queue, found in lengths.items()}


class _Headers(msgspec.Struct):
    task: str = ""


class _Message(msgspec.Struct):
    headers: _Headers


class StrayFinder:
    """Looks for strays in rounds over all keys. Used by one thread at a time. Everything raises ``RedisAway``."""

    def __init__(self, redis: Any, accounts: Collection[str]) -> None:
        self._redis = redis
        self._accounts = accounts
        self._cursor = 0
        self._keys: set[str] = set()  # of this round, so far

    def look(self, steps: int, seconds: float, *, replies: bool = True) -> Strays:
        """Look on, for so many steps and seconds at most. A round that ends begins anew at the next look.

        ``replies``: whether the lists of replies are looked at too; there may be a hundred thousand.
        """
        deadline = Deadline.after(seconds)
        complete = False
        with redis_errors():
            for _ in range(steps):
                self._cursor, keys = self._redis.scan(
                    self._cursor, match=f"{FRONT_DOOR}{'[.:]' if replies else '.'}*", count=KEYS_PER_STEP, _type="list"
                )
                self._keys.update(key.decode(errors="replace") for key in keys)
                complete = self._cursor == 0
                if complete or deadline.passed:
                    break
            strays = self._count(complete)
        if complete:
            self._keys = set()
        return strays

    def _count(self, complete: bool) -> Strays:
        queues: dict[str, list[str]] = {}
        steps: list[str] = list(_FRONT_STEPS)
        replies: list[str] = []
        for key in sorted(self._keys):
            if queue := _QUEUE.fullmatch(key):
                account = queue["account"]
                if account not in self._accounts:
                    queues.setdefault(account, []).append(key)
                elif key not in lists_of(queue_of(account)):
                    steps.append(key)
            elif _REPLIES.fullmatch(key):
                replies.append(key)
        owned = self._have_owners(list(queues))
        unknown = {
            account: count
            for account, lists in queues.items()
            if account not in owned and (count := sum(length for _, length in self._lengths(lists)))
        }
        return Strays(
            unknown, dict(self._lengths(steps)), self._count_in_celery(), dict(self._lengths(replies)), complete
        )

    def _have_owners(self, accounts: Sequence[str]) -> set[str]:
        """Return those that a worker owns: it has other settings than we."""
        leases = {account_lease(account): account for account in accounts}
        return {leases[lease] for chunk in in_trips(list(leases)) for lease in read_owners(self._redis, chunk)}

    def _lengths(self, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
        for chunk in in_trips(keys):
            with self._redis.pipeline(transaction=False) as pipe:
                for key in chunk:
                    pipe.llen(key)
                answers = pipe.execute(raise_on_error=False)
            for key, length in zip(chunk, answers, strict=True):
                if isinstance(length, int) and length:
                    yield key, length

    def _count_in_celery(self) -> int:
        lists = lists_of(CELERY_QUEUE)
        with self._redis.pipeline(transaction=False) as pipe:
            for key in lists:
                pipe.llen(key)
                pipe.lrange(key, -LOOKED_AT, -1)
                pipe.lrange(key, 0, LOOKED_AT - 1)
            answers = pipe.execute(raise_on_error=False)
        found = 0
        for length, oldest, newest in zip(*[iter(answers)] * 3, strict=True):
            # Else the key is of another type, or Redis refuses to show it.
            if isinstance(length, int) and isinstance(oldest, list) and isinstance(newest, list):
                both = [*newest[: max(0, length - LOOKED_AT)], *oldest]
                found += sum(map(_is_ours, both))
        return found


def _is_ours(raw: bytes) -> bool:
    try:
        return msgspec.json.decode(raw, type=_Message).headers.task.startswith(f"{FRONT_DOOR}.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def in_trips(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return the keys in parts, about each of which Redis is asked in one trip."""
    for start in range(0, len(keys), LISTS_PER_TRIP):
        yield keys[start : start + LISTS_PER_TRIP]
