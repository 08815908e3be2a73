"""Outages: what is away, or fails each time, as the log shows it: a line when it begins, a line when it ends, with a count.

In: failures and successes of those who try, each under its name. Out: two log lines, however many try how often. Never: a decision
what to do meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog

from worker68.clock import monotonic
from worker68.errors import DatabaseAway, RedisAway, words_of

log = structlog.get_logger(__name__)

#: A place that has failed and does not try again is not waited for: its job may have ended. The slowest try every 15 s, and a try
#: may take as long.
FORGET_SECONDS: Final = 40.0


class Outage:
    """One thing that is away or broken. ``began``, ``ended``: the names of its two events. Thread-safe.

    It lasts from the first failure until all who have failed succeed, or have not tried for a while. ``fault``: it is one of
    worker68's own, so its first line has the traceback, and each place has a first line.
    """

    def __init__(self, began: str, ended: str, remedy: str, *, fault: bool = False) -> None:
        self._began = began
        self._ended = ended
        self._remedy = remedy
        self._fault = fault
        self._lock = threading.Lock()  # guards all below
        self._failing: dict[str, float] = {}  # who fails, and when it did last
        self._said: set[tuple[str, type[BaseException]]] = set()
        self._since = 0.0
        self._failures = 0

    def fails(self, where: str, error: BaseException, **fields: Any) -> None:
        """Note a failure; log the first, and the first of each other kind of error."""
        kind = (where if self._fault else "", type(error))
        with self._lock:
            self._forget()
            if not self._failing:
                self._said, self._since, self._failures = set(), monotonic(), 0
            new = kind not in self._said
            self._said.add(kind)
            self._failing[where] = monotonic()
            self._failures += 1
        if new:
            words = {"where": where, "problem": words_of(error), "remedy": self._remedy} | fields
            if self._fault:
                log.error(self._began, exc_info=error, **words)
            else:
                log.warning(self._began, **words)

    def works(self, where: str) -> None:
        """Note a success; log the end where no other place fails. Cheap where nothing fails."""
        if not self._failing:
            return
        with self._lock:
            if not self._failing:
                return
            self._failing.pop(where, None)
            self._forget()
            if self._failing:
                return
            seconds, failures = round(monotonic() - self._since, 1), self._failures
        log.info(self._ended, seconds=seconds, failures=failures)

    def _forget(self) -> None:
        oldest = monotonic() - FORGET_SECONDS
        self._failing = {where: at for where, at in self._failing.items() if at > oldest}


#: Those of this process: all who use the database, or Redis, say here that it is away.
DATABASE: Final = Outage(
    "database_away",
    "database_back",
    "waiting for it; nothing is taken in or sent meanwhile, and what was sent is kept: look at DATABASE_URL",
)
REDIS: Final = Outage(
    "redis_away", "redis_back", "waiting for it; nothing is taken in or sent meanwhile, replies wait: look at REDIS_URL"
)


def of(away: DatabaseAway | RedisAway) -> Outage:
    """Return the outage of what is away."""
    return DATABASE if isinstance(away, DatabaseAway) else REDIS


@contextmanager
def noting(where: str, failed: Outage) -> Iterator[None]:
    """Ask the database in this block, and go on after it: note that it works, is away, or under ``failed`` any other error."""
    try:
        yield
    except DatabaseAway as away:
        DATABASE.fails(where, away)
    except Exception as error:  # noqa: BLE001 - logged, with its traceback
        failed.fails(where, error)
    else:
        DATABASE.works(where)
        failed.works(where)
