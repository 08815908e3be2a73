"""Whether this worker does its work: a service of the loop that looks at it in the pool, and says it by the age of a file.

In: checks, each of which says what is wrong. Out: a file that is touched while nothing is wrong; a log line at each change. Never:
a restart, a repair. A look that hangs (a database that neither answers nor fails) touches nothing, nor does a loop that stands
still, and so they are seen as well.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from worker68.clock import monotonic
from worker68.errors import words_of
from worker68.loop import Loop, Stopping
from worker68.observe.outages import Outage

log = structlog.get_logger(__name__)

#: Between two looks.
LOOK_SECONDS: Final = 5.0
#: The same, until it was well for the first time.
START_SECONDS: Final = 0.25
#: What fails for less than this is no illness: Redis restarts, the database fails over.
PATIENCE_SECONDS: Final = 30.0

_NOT_REPORTED: Final = Outage("health_not_reported", "health_reported_again", "look at HEALTH_FILE")

#: Return what is wrong now in words, or None. May be slow, may raise: that is wrong as well.
Check = Callable[[], str | None]


def is_recent(what: str, done_at: Callable[[], float], seconds: float) -> Check:
    """Return a check of something that is done again and again: the last time must be less than ``seconds`` ago."""

    def check() -> str | None:
        ago = monotonic() - done_at()
        return None if ago < seconds else f"{what}: the last time was {ago:.0f} s ago"

    return check


def are_alive(names: frozenset[str]) -> Check:
    """Return a check that the threads with these names are alive."""

    def check() -> str | None:
        dead = names - {thread.name for thread in threading.enumerate()}
        return f"ended: {', '.join(sorted(dead))}" if dead else None

    return check


class Patience:
    """Checks that are wrong only when they have failed for ``seconds``, or were never right."""

    def __init__(self, checks: Mapping[str, Check], seconds: float) -> None:
        self._checks = dict(checks)
        self._good_at: dict[str, float] = {}
        self.seconds = seconds

    def look(self) -> str | None:
        """Make all checks; return what is wrong."""
        return "; ".join(filter(None, (self._judge(name, check) for name, check in self._checks.items()))) or None

    def forgo(self, *names: str) -> None:
        """Make these checks no more."""
        self._checks = {name: check for name, check in self._checks.items() if name not in names}

    def _judge(self, name: str, check: Check) -> str | None:
        try:
            problem = check()
        except Exception as error:  # noqa: BLE001 - whatever a check runs into is what is wrong
            problem = f"{type(error).__name__}: {words_of(error)}"
        now = monotonic()
        if problem is None:
            self._good_at[name] = now
            return None
        good_at = self._good_at.get(name)
        passing = good_at is not None and now - good_at < self.seconds
        return None if passing else f"{name}: {problem}"


class Watch:
    """Looks at all checks every ``look_seconds``. ``on_look`` is called in the pool, with what is wrong.

    Well is a worker from the first time that all checks pass, until one has failed for ``patience_seconds``.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        file: Path | None,
        loop: Loop,
        *,
        look_seconds: float = LOOK_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        on_look: Callable[[str | None], None] = lambda problem: None,
    ) -> None:
        self._patience = Patience(checks, patience_seconds)
        self._file = file
        self._look_seconds = look_seconds
        self._on_look = on_look
        self._began_at = self._looked_at = monotonic()
        self._was_well = False
        self._logged: str | None = None
        self._problem: str | None = "it has not been looked at yet"
        self._stopping = Stopping(loop)

    async def run(self) -> None:
        """Look until ``stop``."""
        while not self._stopping.is_set():
            await asyncio.to_thread(self._look)
            await self._stopping.rest(self._look_seconds if self._was_well else min(START_SECONDS, self._look_seconds))

    def stop(self) -> None:
        """Look no more. A look that hangs changes nothing any more."""
        self._stopping.set()

    def remove_file(self) -> None:
        """This worker has ended: its file says nothing any more."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def forgo(self, *names: str) -> None:
        """Let these checks rest: what they look at ends in order."""
        self._patience.forgo(*names)

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None while healthy."""
        hangs = monotonic() - self._looked_at
        if hangs > self._patience.seconds:
            return f"no look at the worker's health has ended for {hangs:.0f} s"
        return self._problem

    def _look(self) -> None:
        problem = self._patience.look()
        self._looked_at = monotonic()
        self._log_change(problem)
        self._problem = problem
        self._was_well = self._was_well or problem is None
        try:
            if problem is None and self._file is not None and not self._stopping.is_set():
                self._file.touch()
            self._on_look(problem)
            _NOT_REPORTED.works("health")
        except Exception as error:  # noqa: BLE001 - the next look tries again
            _NOT_REPORTED.fails("health", error)

    def _log_change(self, problem: str | None) -> None:
        """Log each change; what is not well from the start is one only after the patience."""
        if problem is None:
            if not self._was_well or self._logged is not None:
                log.info("worker_healthy", after=self._logged)
            self._logged = None
        elif self._logged is None and (self._was_well or monotonic() - self._began_at >= self._patience.seconds):
            log.error("worker_unhealthy", problem=problem, remedy="`worker68 check`; if it lasts, restart the worker")
            self._logged = problem
