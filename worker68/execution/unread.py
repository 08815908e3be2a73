"""Unread replies: ended when they are as old as REPLY_TTL says, counted, and warned about before they fill Redis.

In: the keys of lists and streams to which this worker has published. Out: the old ones are ended; a warning for lists that
seem to have no reader. Never: a reply ended before its time; more than ``BATCH`` keys in one pass of the relay, which calls this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import structlog

from worker68.clock import monotonic, utc_now
from worker68.execution.refusals import Refusals
from worker68.redis_calls import LuaScript, answers_of, caught_error, not_now, refusal

log = structlog.get_logger(__name__)

#: A list to which something was published is looked at so long after it at most, and not again before it gets something more ...
LOOK_SECONDS: Final = 60.0
#: ... or this part of REPLY_TTL has passed. Without a further reply it also ends as a whole, by its own expiry.
LOOKS: Final = 32
#: Marks for each REPLY_TTL. An unread reply ends at most a mark and two looks late: an eighth of REPLY_TTL.
MARKS: Final = 16
#: Keys that one pass looks at, in one round trip each for lists and for streams.
BATCH: Final = 500
#: Keys that are cared for. The one that got nothing for longest is left to its expiry.
MOST_KEYS: Final = 100_000
#: The keys whose lengths are reported: a reply list a minute for hours, or the few that there usually are.
LATEST_KEYS: Final = 500
#: So many unread replies, or one so old, mean that no reader runs.
MANY: Final = 10_000
OLD_SECONDS: Final = 24 * 3600.0
#: The same list is warned about at most this often, and so many lists in that time.
WARN_SECONDS: Final = 3600.0
MOST_WARNED: Final = 100

REMEDY: Final = (
    "see that nothing else writes there, and that worker68 may: unread replies end by the list's expiry alone"
)


class Unread:
    """What waits to be read. For the relay's pass; ``latest`` may be called from any thread."""

    def __init__(self, redis: Any, reply_ttl_seconds: int, refusals: Refusals) -> None:
        self._redis = redis
        self._script = LuaScript(redis, __package__, "unread.lua")
        self._kept = reply_ttl_seconds
        self._refusals = refusals
        self._warn_at: dict[str, float] = {}  # in the order of these times
        # Each key is in one of them, the one that is due first in front: since when it has something new, or when it was looked at.
        self._changed: dict[str, float] = {}
        self._unchanged: dict[str, float] = {}
        self._latest: dict[str, None] = {}

    @property
    def keys(self) -> set[str]:
        """The lists and streams that are cared for."""
        return {*self._changed, *self._unchanged}

    def latest(self) -> list[str]:
        """Return the few hundred lists and streams that were last published to."""
        return list(self._latest.copy())  # the copy is one step: a pass writes meanwhile

    def note(self, key: str) -> None:
        """Something was published there."""
        self._latest.pop(key, None)
        self._latest[key] = None
        if len(self._latest) > LATEST_KEYS:
            del self._latest[next(iter(self._latest))]
        if key in self._changed:
            return
        self._unchanged.pop(key, None)
        self._changed[key] = monotonic()
        if len(self._changed) + len(self._unchanged) > MOST_KEYS:
            longest = self._unchanged or self._changed
            del longest[next(iter(longest))]

    def look(self) -> None:
        """End what is too old in the keys that are due, and warn. Raises ``RedisAway``: then they are due again."""
        due = list(islice(self._due(), BATCH))
        lists = [key for key in due if not key.endswith(":stream")]
        streams = [key for key in due if key.endswith(":stream")]
        if lists:
            arguments = [self._kept, max(1, self._kept // MARKS)]
            answers = self._script.run_each([([key, f"{key}:marks"], arguments) for key in lists])
            self._conclude(lists, answers, self._of_list)
        if streams:
            self._conclude(streams, self._trim_streams(streams), self._of_stream)

    def _due(self) -> Iterator[str]:
        now, part = monotonic(), self._kept / LOOKS
        for waiting, wait in ((self._changed, min(LOOK_SECONDS, part)), (self._unchanged, part)):
            for key, since in waiting.items():
                if since + wait > now:
                    break
                yield key

    def _trim_streams(self, keys: Sequence[str]) -> list[Any]:
        """Return for each the length, or the refusal of one of its two commands."""
        oldest = int((utc_now().timestamp() - self._kept) * 1000)
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.xtrim(key, minid=oldest, approximate=False)
                pipe.xlen(key)
            answers = answers_of(pipe)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [trimmed if isinstance(trimmed, Exception) else length for trimmed, length in pairs]

    def _conclude(self, keys: Sequence[str], answers: Sequence[Any], length_of: Any) -> None:
        """Keep what holds something for the next look, forget the others: also what is refused, until its next reply."""
        later = None
        for key, answer in zip(keys, answers, strict=True):
            if (error := not_now(answer)) is not None:
                later = error
                continue
            self._changed.pop(key, None)
            self._unchanged.pop(key, None)
            if (problem := refusal(answer)) is not None:
                self._refusals.note(key, "care", problem, REMEDY)
            elif length_of(key, answer):
                self._unchanged[key] = monotonic()
        if later is not None:
            raise later

    def _of_stream(self, _key: str, answer: Any) -> int:
        """Readers of a stream leave its entries there, so that there are many says nothing about them."""
        return int(answer)

    def _of_list(self, key: str, answer: Any) -> int:
        length, ended, waited, no_mark = answer
        if ended:
            log.warning("replies_ended_unread", key=key, count=ended, remedy="read the list, or leave reply_to out")
        if no_mark and (problem := refusal(caught_error(no_mark))) is not None:
            self._refusals.note(f"{key}:marks", "care", problem, REMEDY)
        if length >= MANY or waited >= min(OLD_SECONDS, self._kept / 2):
            self._warn(key, length, waited)
        return int(length)

    def _warn(self, key: str, length: int, waited: int) -> None:
        now = monotonic()
        while self._warn_at and now >= self._warn_at[first := next(iter(self._warn_at))]:
            del self._warn_at[first]
        if key in self._warn_at or len(self._warn_at) >= MOST_WARNED:
            return
        self._warn_at[key] = now + WARN_SECONDS
        log.warning(
            "replies_unread",
            key=key,
            count=length,
            oldest_seconds=waited,
            remedy="does its reader run? Unread replies end after REPLY_TTL",
        )
