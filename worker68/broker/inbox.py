"""The inbox: messages leave Redis for the queues of their accounts, and for SQL.

In: the places that this worker owns (the front door, accounts), and what rings there. Out: new jobs in SQL, whose messages are
acknowledged; messages of the front door in the queues of their accounts. A batch that SQL does not take goes back in its order.
Never: anything that acts on a job.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, inf
from typing import Final

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
        # Room that came during ``take_in``, before it was known that something waits for it.
        return 0.0 if any(account in self._crowded for account in self._maybe_room) else self._due.next_at

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
        rest = {popped: replace(one, unknown=True) for popped, one in arrivals.items() if popped not in moved}
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
    """Which places to pop next: those that rang, and all others in a slow round, because a ring may be lost. Used by one thread.

    By name; the one that has been due for longest is first. What a round costs follows what rang, not how many places there are.
    Never: Redis, a clock of its own.
    """

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
