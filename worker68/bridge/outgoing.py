"""The calls of one account that are not written yet, in the order in which they were made.

In: calls, and the time. Out: the one to write now; those whose guards refuse them; when to look again for those that are held.
Never: a socket, a wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import structlog

from worker68.bridge.calls import Call, Guard
from worker68.bridge.tally import Tally

log = structlog.get_logger(__name__)


class Outgoing:
    """Calls that wait to be written. ``guard`` is asked about those that have none of their own."""

    def __init__(self, account: str, guard: Guard | None, tally: Tally) -> None:
        self._account = account
        self._guard = guard
        self._tally = tally
        self._calls: list[Call] = []
        self.held_until = math.inf
        """When the first of the calls that are held may be written, in monotonic seconds."""

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls))

    def add(self, call: Call) -> None:
        self._calls.append(call)

    def discard(self, call: Call) -> None:
        """Take a call out, if it is there."""
        if call in self._calls:
            self._calls.remove(call)

    def forget_holds(self) -> None:
        """Do not look again by time, until the next choice."""
        self.held_until = math.inf

    def choose(
        self, now: float, why_not: Callable[[Call], str | None], refuse: Callable[[Call, str], None]
    ) -> Call | None:
        """Return the first call that may be written now, and refuse those before it that may not be.

        A call that is held lets later ones pass: each has its own time.
        """
        self.held_until = math.inf
        for call in self:
            word = why_not(call) or self._ask(call)
            if word is None:
                return call
            if isinstance(word, str):
                refuse(call, word)
                continue
            call.held_since = call.held_since or now
            self.held_until = min(self.held_until, word)
        return None

    def _ask(self, call: Call) -> str | float | None:
        try:
            guard = call.guard or self._guard
            return guard() if guard is not None else None
        except Exception:
            log.exception("bridge_guard_failed", account=self._account)
            self._tally.count("callback_errors")
            return "the check before the write failed, see the log"
