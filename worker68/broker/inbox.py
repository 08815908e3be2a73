"""The inbox: messages leave Redis for the queues of their accounts, and for SQL.

In: the places that this worker owns (the front door, accounts), and what rings there. Out: new jobs in SQL, whose messages are
acknowledged; messages of the front door in the queues of their accounts. A batch that SQL does not take goes back in its order.
Never: anything that acts on a job.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from worker68.broker.due import POLL, SAFETY, DuePlaces
from worker68.broker.place import FRONT_NAME, Place, Popped, place_of
from worker68.broker.source import Batch, Source
from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, LeaseLost
from worker68.execution.intake import Arrival, Intake
from worker68.fleet.leases import Lease, lease_key
from worker68.jobs.job import Job

#: Messages in one batch: one transaction, whose commit is the cost.
BATCH: Final = 200
#: Places popped in one batch: some 20 microseconds of Redis each.
PLACES: Final = 100
#: Messages of the front door that are sorted at once; none of them costs a commit.
SORTED: Final = 1000


class Inbox:
    """Takes messages in. On the loop; what asks Redis and SQL runs in the pool, one call at a time.

    ``announce`` is called when replies have come into the outbox.
    """

    def __init__(self, source: Source, intake: Intake, announce: Callable[[], None]) -> None:
        self._source = source
        self._intake = intake
        self._announce = announce
        self._places: dict[str, Place] = {}
        self._rooms: dict[str, Callable[[], int]] = {}
        self._due = DuePlaces()
        self._crowded: set[str] = set()
        self._maybe_room: deque[str] = deque()
        self._rung = True

    def gain(self, lease: Lease, room: Callable[[], int] = lambda: sys.maxsize) -> None:
        """Take from the place of this lease from now on, as many as there is ``room`` for in SQL. Not during ``take_in``."""
        place = _place(lease)
        self._places[place.name] = place
        self._rooms[place.name] = room
        self._due.add(place.name)

    def lose(self, lease: Lease) -> None:
        """Take nothing any more from the place of this lease. Not during ``take_in``."""
        name = _place(lease).name
        self._places.pop(name, None)
        self._rooms.pop(name, None)
        self._crowded.discard(name)
        self._due.remove(name)

    def note_room(self, account: str) -> bool:
        """A job of the account has ended, or they were counted: what waits in Redis for room may come. Return whether it waits."""
        self._maybe_room.append(account)
        return account in self._crowded

    async def take_in(self) -> list[Job]:
        """Sort the front door and take one batch in, as far as it rang or a look is due; return the new jobs.

        Raises ``RedisAway`` and ``DatabaseAway``.
        """
        while self._maybe_room:
            account = self._maybe_room.popleft()
            if account in self._crowded and self._rooms[account]() > 0:
                self._due.mark([account])
        if not self._rung and monotonic() < self._due.next_at:
            return []
        self._rung = False
        return await asyncio.to_thread(self._take_batch)

    @property
    def next_look_at(self) -> float:
        """When there is something to take in, as far as is known (monotonic seconds); the doorbell rings before."""
        return self._due.next_at

    @contextmanager
    def watched(self, rang: Callable[[], None]) -> Iterator[None]:
        """Watch the doorbell within this block, and call ``rang`` once when it rings. Not during ``take_in``, which reads it."""
        loop, bell = asyncio.get_running_loop(), self._source.doorbell.fileno()

        def ring() -> None:
            self._rung = True
            loop.remove_reader(bell)
            rang()

        loop.add_reader(bell, ring)
        try:
            yield
        finally:
            loop.remove_reader(bell)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._source.close()

    def _take_batch(self) -> list[Job]:
        self._hear()
        self._due.poll(monotonic())
        if self._due.take_one(FRONT_NAME):
            self._pop([FRONT_NAME], SORTED, self._sort)
        names = self._due.take(PLACES, but=FRONT_NAME)  # which may be due again
        return self._pop(names, BATCH, self._write) if names else []

    def _pop(self, names: Sequence[str], most: int, use: Callable[[Sequence[Popped]], list[Job]]) -> list[Job]:
        """Pop from these places, and use what was popped. Where that fails they are due again: what was popped is there.

        So it is where an account was removed meanwhile: by the next round its place is not ours any more.
        """
        places = [replace(self._places[name], room=self._rooms[name]()) for name in names]
        try:
            batch = self._source.pop(places, most)
            self._hear(watched=names)  # this pop may have been the one that hung the bell up
            jobs = use(batch.popped) if batch.popped else []
        except LeaseLost:
            self._due.mark(names)
            return []
        except BaseException:
            self._due.mark(names)
            raise
        self._note(names, batch)
        return jobs

    def _hear(self, watched: Collection[str] = ()) -> None:
        """Note what rang. ``watched``: places that have just been popped, so that an armed bell watches them."""
        changed = self._source.doorbell.take_changed()
        self._due.mark(map(place_of, changed.keys))
        self._due.slow_round = SAFETY if self._source.doorbell.armed else POLL
        if changed.missed:
            self._due.mark_all(but=watched if self._source.doorbell.armed else ())

    def _note(self, names: Sequence[str], batch: Batch) -> None:
        self._crowded.difference_update(names)
        self._crowded.update(batch.crowded)
        self._due.mark(batch.again)

    def _sort(self, messages: Sequence[Popped]) -> list[Job]:
        """Move messages of the front door to the queues of their accounts.

        What belongs to no account is answered or set aside here: no such message becomes a job.
        """
        arrivals = {popped: _arrival(popped) for popped in messages}
        accounts = self._intake.accounts_of([arrivals[popped] for popped in messages])
        moves = [(popped, account) for popped, account in zip(messages, accounts, strict=True) if account is not None]
        self._due.mark(account for _, account in moves)  # the doorbell does not ring for what this worker pushes
        refused = self._source.move(messages[0].place, moves) if moves else {}
        for popped, reason in refused.items():
            arrivals[popped] = replace(arrivals[popped], problem=f"the queue of its account cannot take it: {reason}")
        moved = {popped for popped, _ in moves} - refused.keys()
        rest = {popped: arrival for popped, arrival in arrivals.items() if popped not in moved}
        return self._write(list(rest), list(rest.values())) if rest else []

    def _write(self, messages: Sequence[Popped], arrivals: Sequence[Arrival] | None = None) -> list[Job]:
        """Write messages to SQL and acknowledge them; return the new jobs. What SQL does not take goes back to its queue."""
        if arrivals is None:
            arrivals = list(map(_arrival, messages))
        try:
            jobs = self._intake.take_in(arrivals, utc_now())
        except (DatabaseAway, LeaseLost):
            self._source.give_back(messages)
            raise
        self._source.ack(messages)
        if len(jobs) < len(messages):  # the others were answered, or set aside
            self._announce()
        return jobs


def _place(lease: Lease) -> Place:
    return Place(lease.account or FRONT_NAME, lease_key(lease.name), lease.value, lease.fence)


def _arrival(popped: Popped) -> Arrival:
    account = None if popped.place.is_front else popped.place.name
    return Arrival(popped.raw, popped.place.queue, account)
