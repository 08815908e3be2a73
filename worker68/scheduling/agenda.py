"""The agenda: which accounts to look at now, and when to look at the others.

In: accounts for which something has changed, and times. Out: those that are due, a bounded part at a time. What a round costs
follows what changed and what is due, not how many accounts there are. Never: a clock.
"""

from __future__ import annotations

import heapq
import math
from itertools import islice

#: Accounts of one round at most: a job that comes meanwhile waits for no more than these. Where something has changed, most need a
#: look at what is in memory; where the time has come, most need some statements of SQL.
MOST_CHANGED = 64
MOST_DUE = 8


class Agenda:
    """Accounts by name, and the next time of each (monotonic seconds)."""

    def __init__(self) -> None:
        self._marked: dict[str, None] = {}
        self._without_room: dict[str, None] = {}
        self._heap: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}  # an entry of the heap with another time counts no more

    def mark(self, account: str) -> None:
        """Something has changed for this account: it is due."""
        self._marked[account] = None

    def wait_for_room(self, account: str) -> None:
        """This account is due once the worker has room for another job."""
        self._without_room[account] = None

    @property
    def waits_for_room(self) -> bool:
        """Whether an account waits for room."""
        return bool(self._without_room)

    def plan(self, account: str, at: float) -> None:
        """This account is due then, whatever was planned before; with ``math.inf`` not before something changes."""
        if at == math.inf:
            self._times.pop(account, None)
        elif self._times.get(account) != at:
            self._times[account] = at
            heapq.heappush(self._heap, (at, account))

    def forget(self, account: str) -> None:
        """This account is never due any more."""
        for register in (self._marked, self._without_room, self._times):
            register.pop(account, None)

    def take(self, now: float, has_room: bool) -> list[str]:
        """Return accounts that are due, first those that have waited for room; they are due no more."""
        due: dict[str, None] = {}
        for register in (self._without_room, self._marked) if has_room else (self._marked,):
            for account in list(islice(register, MOST_CHANGED - len(due))):
                del register[account]
                due[account] = None
        most = len(due) + MOST_DUE
        while self._next_time() <= now and len(due) < most:
            account = heapq.heappop(self._heap)[1]
            del self._times[account]
            due[account] = None
        return list(due)

    def next_at(self, has_room: bool) -> float:
        """Return when the next account is due: 0 for now."""
        return 0.0 if self._marked or (has_room and self._without_room) else self._next_time()

    def _next_time(self) -> float:
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf
