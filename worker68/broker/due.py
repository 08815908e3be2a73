"""Which places to pop next: those that rang, and all others in a slow round, because a ring may be lost.

In: the names of places, as they come, ring and go. Out: some of those that are due, the one that has been due for longest first.
What a round costs follows what rang, not how many places there are. Never: Redis, a clock of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf
from typing import Final

#: Places that are not due are looked at this often at most, a slice of them.
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Round:
    """How fast the slow round over all places goes: once in so many seconds, but ``most`` places in one look."""

    seconds: float
    most: int

    def look(self, places: int) -> tuple[int, float]:
        """Return how many of so many places the next look takes, and how many seconds it is until the one after it."""
        pause = self.seconds / max(1, places)
        if pause > POLL_SECONDS:
            return 1, pause
        return min(self.most, ceil(places * POLL_SECONDS / self.seconds)), POLL_SECONDS


#: With a doorbell, of which a ring may be lost in silence (a half-open connection): as often as the doorbell itself is checked.
SAFETY: Final = Round(10.0, 50)
#: Without a doorbell the round is all there is.
POLL: Final = Round(1.0, 500)


class DuePlaces:
    """The places of one worker, by name. Used by one thread."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._round: deque[str] = deque()  # all places, in the order of the slow round over them
        self._names: set[str] = set()
        self.slow_round = POLL
        self._polled_at = -inf

    def add(self, name: str) -> None:
        """Look after a place from now on; it is due at once."""
        if name not in self._names:
            self._names.add(name)
            self._round.append(name)
        self._due[name] = None

    def remove(self, name: str) -> None:
        """Forget a place."""
        if name in self._names:
            self._names.discard(name)
            self._round.remove(name)
        self._due.pop(name, None)

    def mark(self, names: Iterable[str]) -> None:
        """Make these places due, as far as they are known."""
        self._due.update((name, None) for name in names if name in self._names)

    def mark_all(self, but: Collection[str] = ()) -> None:
        """Make every place due, except some: any of them may have rung unheard."""
        self._due.update((name, None) for name in self._round if name not in but)

    def poll(self, now: float) -> None:
        """Make the next places of the slow round due, if it is time (monotonic seconds)."""
        count, pause = self.slow_round.look(len(self._round))
        if now < self._polled_at + pause:
            return
        self._polled_at = now
        for _ in range(min(count, len(self._round))):
            self._due[self._round[0]] = None
            self._round.rotate(-1)

    def take(self, most: int, but: str | None = None) -> list[str]:
        """Return up to ``most`` places that are due, except one; they are no longer due."""
        names = list(islice((name for name in self._due if name != but), most))
        for name in names:
            del self._due[name]
        return names

    def take_one(self, name: str) -> bool:
        """Return whether this place is due; it is no longer due."""
        return self._due.pop(name, 0) is None

    @property
    def next_at(self) -> float:
        """When there is something to pop (monotonic seconds): 0 for now."""
        return 0.0 if self._due else max(0.0, self._polled_at + self.slow_round.look(len(self._round))[1])
