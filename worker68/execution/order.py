"""The order in which the lanes of one account have their turn.

In: lanes, each with the kind and the priority of its next job. Out: the lane whose turn is next among the kinds that may start.
What one chat holds up stands aside, and is not looked at until that is released. Never: a clock, a limit, a lock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from itertools import count

from worker68.execution.lanes import Kind, Lane

#: A heap is built anew when more entries than this, and than it has lanes, belong to lanes that have left it.
_DEAD_ENTRIES = 64

_tickets = count(1)


class _Queue:
    """Lanes by a key, the lowest first. A lane stands in one queue at most; an entry whose ticket is not the lane's is dead."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, float], int, Lane]] = []
        self._lanes = 0

    def add(self, lane: Lane, key: tuple[float, float]) -> None:
        lane.stand, lane.ticket = self, next(_tickets)
        heapq.heappush(self._heap, (key, lane.ticket, lane))
        self._lanes += 1

    def remove(self, lane: Lane) -> None:
        lane.stand, lane.ticket = None, 0
        self._lanes -= 1
        if len(self._heap) > 2 * self._lanes + _DEAD_ENTRIES:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
            heapq.heapify(self._heap)

    def first(self) -> tuple[tuple[float, float], Lane] | None:
        while self._heap:
            key, ticket, lane = self._heap[0]
            if ticket == lane.ticket:
                return key, lane
            heapq.heappop(self._heap)
        return None

    def next_of(self, most: int) -> list[Lane]:
        """Return the first lanes in their order, ``most`` of them at most."""
        popped: list[tuple[tuple[float, float], int, Lane]] = []
        while len(popped) < most and self.first() is not None:
            popped.append(heapq.heappop(self._heap))
        for entry in popped:
            heapq.heappush(self._heap, entry)
        return [lane for _, _, lane in popped]


class _Aside:
    """Lanes that one thing holds up."""

    def __init__(self, cause: Hashable) -> None:
        self.cause = cause
        self.lanes: dict[str, Lane] = {}

    def remove(self, lane: Lane) -> None:
        lane.stand = None
        del self.lanes[lane.name]


class Order:
    """Where the lanes of one account stand: open, aside, or nowhere."""

    def __init__(self) -> None:
        self._open: dict[Kind, _Queue] = {}
        self._aside: dict[Hashable, _Aside] = {}

    def remove(self, lane: Lane) -> None:
        if lane.stand is not None:
            lane.stand.remove(lane)

    def open(self, lane: Lane, kind: Kind, priority: int) -> None:
        """The lane waits for its turn: after lower priorities, and after those of its own with a lower ``since``."""
        self._open.setdefault(kind, _Queue()).add(lane, (priority, lane.since))

    def set_aside(self, lane: Lane, cause: Hashable) -> None:
        """The lane waits until ``cause`` is released."""
        self.remove(lane)
        lane.stand = aside = self._aside.setdefault(cause, _Aside(cause))
        aside.lanes[lane.name] = lane

    def first(self, may_start: Callable[[Kind], bool]) -> tuple[Kind, Lane] | None:
        """Return the lane whose turn is next, by class, priority and ``since``, among the kinds that may start."""
        best = None
        for kind, queue in self._open.items():
            entry = queue.first()
            if entry is not None and may_start(kind):
                turn = (kind.job_class, *entry[0])
                if best is None or turn < best[0]:
                    best = turn, kind, entry[1]
        return best and best[1:]

    def first_of(self, kind: Kind) -> Lane | None:
        """Return the lane of this kind whose turn is next."""
        entry = self._open[kind].first()
        return entry and entry[1]

    def next_of(self, kind: Kind, most: int) -> list[Lane]:
        """Return the lanes of this kind in their order, ``most`` of them at most."""
        return self._open[kind].next_of(most)

    def kinds(self) -> list[Kind]:
        """Return the kinds of which a lane is open."""
        return [kind for kind, queue in self._open.items() if queue.first() is not None]

    def release(self, cause: Hashable) -> list[Lane]:
        """Return the lanes that this held up; they stand nowhere then."""
        aside = self._aside.pop(cause, None)
        if aside is None:
            return []
        for lane in aside.lanes.values():
            lane.stand = None
        return list(aside.lanes.values())

    def cause_of(self, lane: Lane) -> Hashable | None:
        """Return what holds this lane up, if it stands aside."""
        return lane.stand.cause if isinstance(lane.stand, _Aside) else None

    def causes(self) -> list[Hashable]:
        """Return all that holds a lane up."""
        return list(self._aside)
