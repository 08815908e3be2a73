"""Replies that nobody reads: ended when they are as old as REPLY_TTL says, counted, and warned about before they fill Redis.

In: the keys of lists and streams to which this worker has published. Out: their lengths, for whoever measures; a warning for lists
that nobody seems to read. Never: a reply ended before its time. Used by the relay's thread.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from worker68.clock import monotonic, utc_now
from worker68.redis_calls import LuaScript, redis_errors

log = structlog.get_logger(__name__)

#: How often each list is looked at.
LOOK_SECONDS: Final = 60.0
#: Marks for each REPLY_TTL: an unread reply ends at most an eighth of that time late.
MARKS: Final = 8
#: So many unread replies, or one so old, say that nobody reads.
MANY: Final = 10_000
OLD_SECONDS: Final = 24 * 3600.0
#: The same list is warned about at most this often.
WARN_SECONDS: Final = 3600.0


class Unread:
    """What waits to be read. ``lengths`` may be read by any thread: the key of each list or stream, and how many wait there."""

    def __init__(self, redis: Any, reply_ttl_seconds: int) -> None:
        self._redis = redis
        self._script = LuaScript(redis, __package__, "unread.lua")
        self._kept = reply_ttl_seconds
        self._look_at = 0.0
        self._warn_at: dict[str, float] = {}
        self.lengths: dict[str, int] = {}

    def note(self, key: str) -> None:
        """Something was published there."""
        self.lengths.setdefault(key, 1)

    def look(self) -> None:
        """End what is too old, count the rest, and warn; once in ``LOOK_SECONDS``. Raises ``RedisAway``."""
        if monotonic() < self._look_at:
            return
        self._look_at = monotonic() + LOOK_SECONDS
        for key in list(self.lengths):
            length = self._trim_stream(key) if key.endswith(":stream") else self._trim_list(key)
            if length:
                self.lengths[key] = length
            else:
                del self.lengths[key]

    def _trim_stream(self, key: str) -> int:
        """Readers of a stream leave its entries there, so that there are many says nothing about them."""
        oldest = int((utc_now().timestamp() - self._kept) * 1000)
        with redis_errors():
            self._redis.xtrim(key, minid=oldest, approximate=False)
            return int(self._redis.xlen(key))

    def _trim_list(self, key: str) -> int:
        arguments = [self._kept, max(1, self._kept // MARKS)]
        length, ended, waited = self._script.run([key, f"{key}:marks"], arguments)
        if ended:
            log.warning("replies_ended_unread", key=key, count=ended, remedy="read the list, or leave reply_to out")
        if (length >= MANY or waited >= min(OLD_SECONDS, self._kept / 2)) and self._warn_at.get(
            key, 0.0
        ) <= monotonic():
            self._warn_at[key] = monotonic() + WARN_SECONDS
            log.warning(
                "replies_unread",
                key=key,
                count=length,
                oldest_seconds=waited,
                remedy="does its reader run? Unread replies end after REPLY_TTL",
            )
        return int(length)
