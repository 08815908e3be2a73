"""Which places to pop next: those that rang, and each second a slice of all others, because a ring may be lost.

In: the names of places, as they come, ring and go. Out: some of those that are due, the one that has been due for longest first.
What a round costs follows what rang, not how many places there are. Never: Redis, a clock of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

#: A ring may be lost in silence (a half-open connection): a slice of the places is looked at this often.
POLL_SECONDS: Final = 1.0


class DuePlaces:
    """The places of one worker, by name. Used by one thread."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._round: deque[str] = deque()  # all places, in the order of the slow round over them
        self._names: set[str] = set()
        self._poll_at = 0.0

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

    def poll(self, now: float, most: int) -> None:
        """Make the next ``most`` places of the slow round due, if it is time (monotonic seconds)."""
        if now < self._poll_at:
            return
        self._poll_at = now + POLL_SECONDS
        for _ in range(min(most, len(self._round))):
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
        return 0.0 if self._due else self._poll_at
