"""What the tests of ownership share: names of leases, a diary of what was gained and lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worker68.clock import Deadline
from worker68.fleet.leases import Lease, account_lease
from worker68.fleet.ownership import Ownership

MAIN, OTHER = account_lease("main"), account_lease("other")

#: Leases that must not lapse however slow the machine is; renewed only after 20 s, which no test waits for.
LONG_TTL = 60.0


@dataclass
class Diary:
    """What the callbacks were told, in order; tests wait for entries."""

    entries: list[tuple[str, Lease]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, what: str, lease: Lease) -> None:
        with self.changed:
            self.entries.append((f"{what} {lease.name}", lease))
            self.changed.notify_all()

    def wait_for(self, what: str, times: int = 1) -> Lease:
        """Return the lease of the entry that came as the last of so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(what)) >= times, timeout=180), (what, self.entries)
            return self.of(what)[times - 1]

    def of(self, what: str) -> list[Lease]:
        return [lease for entry, lease in self.entries if entry == what]

    @property
    def words(self) -> list[str]:
        return [entry for entry, _ in self.entries]


Start = Callable[..., tuple[Ownership, Diary]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline, tick = Deadline.after(60), threading.Event()
    while not condition():
        assert not deadline.passed, "the condition was not met in time"
        tick.wait(0.01)


def count(logs: list[Any], event: str) -> int:
    return sum(entry["event"] == event for entry in logs)
