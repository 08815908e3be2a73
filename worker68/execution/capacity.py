"""How many jobs may be under way in this worker at once, and how many are."""

from __future__ import annotations


class Capacity:
    """Counted as jobs come and go, by those that hold them. On the loop."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.occupied = 0

    @property
    def free(self) -> int:
        """How many more jobs may begin."""
        return self.concurrency - self.occupied
