"""Keeps the writes of one account as far apart as its limits want, at the moment of the write.

In: what is about to be written, and the time (monotonic seconds). Out: from when on it may be written, and how old its slot may
be. The limiter's slots are evenly spaced, but what is written late in its slot would come too near to the next one. Never: Redis,
a lock, a wait; it belongs to the thread that writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from worker68.jobs.fields import Chat
from worker68.limits.limiter import Ask, JobClass
from worker68.limits.rates import Limits, Rate

#: What a late timer may take without shifting all writes after it: a quarter of the interval, so that windows hold what they may
#: hold (one interval would be one write too many), and no more than timers are late.
LATE_SHARE: Final = 0.25
LATE_SECONDS: Final = 0.05

#: A slot may be as old as its interval: what stalled for longer would come all at once. Between these: on the way from a thread to
#: the socket some milliseconds always pass, and what was planned half a second ago is not needed that exactly.
YOUNGEST_SECONDS: Final = 0.02
OLDEST_SECONDS: Final = 0.5

#: Chats that were not written to for longer than their interval are forgotten when there are so many.
_CHATS_KEPT: Final = 1000

_Scope = Chat | JobClass | None


class Spacing:
    """The last writes of one account under each of its limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # When the next write would be due if all were evenly spaced. None: the account.
        self._due: dict[_Scope, float] = {}

    def earliest(self, ask: Ask) -> float:
        """Return from when on this may be written, in monotonic seconds; it may lie in the past."""
        return max((self._earliest(scope, rate) for scope, rate in self._scopes(ask)), default=-math.inf)

    def note_write(self, ask: Ask, now: float) -> None:
        """Take note that this is written now."""
        if len(self._due) > _CHATS_KEPT:
            self._due = {scope: due for scope, due in self._due.items() if due > now}
        for scope, rate in self._scopes(ask):
            self._due[scope] = max(self._due.get(scope, now), now) + _interval(rate)

    def oldest(self, ask: Ask) -> float:
        """Return how many seconds after its time a slot may still be used; without a limit for ever."""
        shortest = min((_interval(rate) for _, rate in self._scopes(ask)), default=None)
        return math.inf if shortest is None else _oldest(shortest)

    @property
    def tolerance_seconds(self) -> float:
        """How late any frame may come in its slot and still use it."""
        limits = self._limits
        rates = (limits.account, limits.chat, limits.send, limits.moderate, limits.read)
        return min((_oldest(_interval(rate)) for rate in rates if rate is not None), default=math.inf)

    def _earliest(self, scope: _Scope, rate: Rate) -> float:
        interval = _interval(rate)
        slack = (rate.burst - 1) * interval + min(LATE_SHARE * interval, LATE_SECONDS)
        return self._due.get(scope, -math.inf) - slack

    def _scopes(self, ask: Ask) -> Iterator[tuple[_Scope, Rate]]:
        limits = self._limits
        if limits.account is not None:
            yield None, limits.account
        if limits.chat is not None and ask.chat is not None:
            yield ask.chat, limits.chat
        of_class: Rate | None = getattr(limits, ask.job_class)
        if of_class is not None:
            yield ask.job_class, of_class


def _oldest(interval_seconds: float) -> float:
    return min(OLDEST_SECONDS, max(YOUNGEST_SECONDS, interval_seconds))


def _interval(rate: Rate) -> float:
    return rate.interval_microseconds / 1_000_000
