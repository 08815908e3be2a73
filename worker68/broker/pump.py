"""The pump: the one thread that takes jobs in from Redis and lets begin what is ready.

In: the places and accounts that this worker owns. Out: rows in SQL, acknowledgements to Redis, jobs that begin on the loop.
Nothing is popped while the database is away; a popped batch that could not be written goes back in its order. Never: a frame.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from worker68.broker.place import Place, Popped
from worker68.broker.source import Source
from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, LeaseLost, RedisAway, RowsLocked
from worker68.execution import recovery
from worker68.execution.desk import Desk
from worker68.execution.intake import Arrival, Intake
from worker68.execution.slots import Choice, Ready
from worker68.fleet.leases import Lease, lease_key
from worker68.jobs.job import Job
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.schema import check_version

log = structlog.get_logger(__name__)

#: Messages in one batch: one transaction, whose commit is the cost.
BATCH = 200
#: The bell may fail in silence, and deferred jobs become due: look at least this often.
POLL_SECONDS = 1.0
#: Between two tries while Redis or the database is away.
PAUSE_SECONDS = 1.0

_FAILED = outages.Outage(
    "pump_failed", "pump_works_again", "a fault in worker68: keep this line, report it", fault=True
)
_ACCOUNT_FAILED = outages.Outage(
    "account_failed", "account_works_again", "a fault in worker68; the other accounts go on", fault=True
)
_LOCKED = outages.Outage(
    "account_locked",
    "account_taken_over",
    "another session holds rows of the account: that of an owner which is frozen ends within seconds; the others go on",
)


class Pump:
    """Moves jobs. ``gained``, ``lost`` and ``wake`` may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        source: Source,
        begin: Callable[[Desk, Ready], None],
        open_desk: Callable[[str, Lease], Desk],
        announce: Callable[[], None],
        defer: Callable[[Sequence[Job]], None],
        concurrency: int,
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._source = source
        self._begin = begin
        self._open_desk = open_desk
        self._announce = announce
        self._defer = defer
        self._concurrency = concurrency
        self._desks: dict[str, Desk] = {}
        self._leases: dict[str, Lease] = {}
        self._front: Lease | None = None
        self._changes: queue.SimpleQueue[tuple[Lease, bool]] = queue.SimpleQueue()
        self._unopened: dict[str, Lease] = {}
        self._failing: dict[
            str, float
        ] = {}  # accounts of which something of ours broke, and until when each is left alone
        self._database_seen = False
        self.seconds = histogram("worker68_pump_seconds", "One round of taking in and handing on.")
        self.turned_at = monotonic()  # the end of one that ended well
        self._stopping = threading.Event()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rung = False  # the bell's descriptor is readable, or is about to be
        self._pop_at = 0.0  # when to look into Redis without a ring of its own bell (monotonic seconds)
        self._pop_when_woken = True
        self._thread = threading.Thread(target=self._run, name="worker68-pump", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take nothing in and begin nothing any more."""
        self._stopping.set()
        self.wake()
        self._thread.join()
        self._source.close()

    def wake(self) -> None:
        """Something may be ready now."""
        if not self._rung:
            self._rung = True
            os.eventfd_write(self._bell, 1)

    def gained(self, lease: Lease) -> None:
        self._changes.put((lease, True))
        self.wake()

    def lost(self, lease: Lease) -> None:
        self._changes.put((lease, False))
        self.wake()

    def owned_accounts(self) -> list[str]:
        return list(self._desks)

    def desks(self) -> list[Desk]:
        return list(self._desks.values())

    @property
    def owns_front(self) -> bool:
        return self._front is not None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                began = monotonic()
                more, look_again_at = self._turn()
                self.turned_at = monotonic()
                self.seconds.observe(self.turned_at - began)
                if not more:
                    self._wait(look_again_at)
            except (DatabaseAway, RedisAway) as away:
                self._note_away(away)
                self._pause()
            except BaseException as error:  # noqa: BLE001 - a worker whose pump has ended is alive and takes nothing in
                _FAILED.fails("pump", error)
                self._pause()

    def _turn(self) -> tuple[bool, float | None]:
        """Tend, take in and let begin once; return whether there is more to take in, and when to look again at the latest."""
        self._apply_changes()
        if not self._database_seen:
            check_version(self._engine)
            self._database_seen = True
        self._open_desks()
        self._tend()  # first, because it counts how much room a new desk has
        more = self._take_in()
        _, look_again_at = self._begin_ready()
        for outage in (outages.DATABASE, outages.REDIS, _FAILED):
            outage.works("pump")
        return more, look_again_at

    def _pause(self) -> None:
        """Something failed half-way, so what was written may not have come into memory, nor what was popped."""
        self._pop_at = 0.0
        for desk in self._desks.values():
            desk.distrust()
        self._stopping.wait(PAUSE_SECONDS)

    def _wait(self, until: float | None) -> None:
        times = [self._pop_at, *([] if until is None else [until])]
        timeout = max(0.0, min(times) - monotonic())
        readable, _, _ = select.select([self._bell, self._source.fileno()], [], [], timeout)
        if self._bell in readable:
            os.eventfd_read(self._bell)
            self._rung = False  # before the look at what there is, or a ring in between is lost
            if self._pop_when_woken:
                self._pop_at = 0.0
        if self._source.fileno() in readable and self._source.drain():
            self._pop_at = 0.0

    def _note_away(self, away: DatabaseAway | RedisAway) -> None:
        """Look at the database's version before anything else when what is away may be back."""
        outage = outages.DATABASE if isinstance(away, DatabaseAway) else outages.REDIS
        outage.fails("pump", away)
        self._database_seen = False

    # Ownership

    def _apply_changes(self) -> None:
        while not self._changes.empty():
            self._pop_at = 0.0
            lease, gained = self._changes.get()
            if lease.account is None:
                self._front = lease if gained else None
            elif gained:
                self._unopened[lease.account] = lease
            else:
                self._unopened.pop(lease.account, None)
                self._desks.pop(lease.account, None)
                self._leases.pop(lease.account, None)

    def _open_desks(self) -> None:
        """Open a desk for each account gained; one that the database did not let open is tried again."""
        for account, lease in list(self._unopened.items()):
            if not self._may_try(account):
                continue
            with self._apart(account):
                try:
                    self._desks[account] = self._open_desk(account, lease)
                    self._leases[account] = lease
                except LeaseLost as lost:
                    log.warning("desk_not_opened", account=account, problem=str(lost))
                del self._unopened[account]

    def _tend(self) -> None:
        for account, desk in self._desks.items():
            if self._may_try(account):
                with self._apart(account):
                    if desk.tend():
                        self._announce()

    def _may_try(self, account: str) -> bool:
        return self._failing.get(account, 0.0) <= monotonic()

    @contextmanager
    def _apart(self, account: str) -> Iterator[None]:
        """Let what breaks of ours on one account be that account's alone: it rests for a moment, and the others go on."""
        try:
            yield
            _LOCKED.works(account)
            _ACCOUNT_FAILED.works(account)
        except RowsLocked as locked:
            _LOCKED.fails(account, locked, account=account)
            self._rest(account)
        except (DatabaseAway, RedisAway):
            raise
        except Exception as error:  # noqa: BLE001 - logged, with its traceback
            _ACCOUNT_FAILED.fails(account, error, account=account)
            self._rest(account)

    def _rest(self, account: str) -> None:
        self._failing[account] = monotonic() + PAUSE_SECONDS
        if account in self._desks:
            self._desks[account].distrust()

    # Intake

    def _places(self) -> list[Place]:
        desks = self._desks.values()
        places = [
            Place.of_account(desk.account, **_terms(self._leases[desk.account]), room=desk.room) for desk in desks
        ]
        if self._front is not None:
            places.append(Place.front_door(**_terms(self._front)))
        return places

    def _take_in(self) -> bool:
        """Take one batch in; return whether there is more to take in at once."""
        if monotonic() < self._pop_at:
            return False
        places = self._places()
        batch = self._source.pop(places, BATCH) if places else None
        front = [popped for popped in batch.popped if not popped.place.name] if batch else []
        own = [popped for popped in batch.popped if popped.place.name] if batch else []
        at_once = batch is not None and (batch.unread or bool(front) or (batch.popped and batch.more))
        self._pop_at = 0.0 if at_once else monotonic() + POLL_SECONDS
        # A job that ends makes room for the next; and a bell that does not ring is no reason to wait.
        self._pop_when_woken = not self._source.bell_armed or any(place.room <= BATCH for place in places)
        if front:
            self._sort(front)
        if own:
            self._hand_over(self._write(list(map(_arrival, own)), own))
        return bool(front) or (batch is not None and bool(batch.popped) and batch.more)

    def _sort(self, messages: Sequence[Popped]) -> None:
        """Move messages of the front door to the queues of their accounts.

        What belongs to no account of the settings is answered or set aside here: no such message becomes a job.
        """
        arrivals = dict(zip(messages, map(_arrival, messages), strict=True))
        moves = [(popped, account) for popped in messages if (account := self._intake.account_of(arrivals[popped]))]
        stuck = self._source.pass_on(messages[0].place, moves) if moves else {}
        for popped in stuck:
            arrivals[popped] = replace(
                arrivals[popped], problem=f"the queue of its account cannot take it: {stuck[popped]}"
            )
        moved = {popped for popped, _ in moves} - stuck.keys()
        rest = [popped for popped in messages if popped not in moved]
        if rest:
            self._write([arrivals[popped] for popped in rest], rest)

    def _write(self, arrivals: Sequence[Arrival], messages: Sequence[Popped]) -> list[Job]:
        """Write messages to SQL and acknowledge them; return the new jobs. What SQL does not take goes back to its queue."""
        by_place: dict[str, tuple[Place, list[bytes]]] = {}
        for popped in messages:
            by_place.setdefault(popped.place.name, (popped.place, []))[1].append(popped.field)
        try:
            jobs = self._intake.take_in(arrivals, utc_now())
        except DatabaseAway:
            for place, fields in by_place.values():
                self._source.give_back(place, fields)
            raise
        for place, fields in by_place.values():
            self._source.ack(place, fields)
        if len(jobs) < len(messages):  # the others were answered, or set aside
            self._announce()
        return jobs

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        """Let new jobs enter their lanes."""
        by_account: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_account[job.account].append(job)
        for account, own in by_account.items():
            self._desks[account].take(own)
        begun, _ = self._begin_ready()
        self._defer([job for job in jobs if job.seq not in begun])

    # Beginning

    def _begin_ready(self) -> tuple[set[int], float | None]:
        """Let begin what is ready; return the numbers of these jobs, and when to look again (monotonic seconds)."""
        begun: set[int] = set()
        times: list[float] = []
        room = self._concurrency - sum(desk.execution.dispatch.occupied for desk in self._desks.values())
        for desk in self._desks.values():
            if self._stopping.is_set():
                break
            choice = self._choose(desk, room)
            room -= len(choice.ready)
            for ready in choice.ready:
                begun.add(ready.job.seq)
                self._begin(desk, ready)
            if choice.overdue:
                recovery.expire(self._engine, choice.overdue, utc_now())
                self._announce()
                self.wake()  # the next of their lanes may not be in memory yet, and thousands may be as late
            times += [time for time in (choice.look_again_at, desk.look_again_at) if time is not None]
        return begun, min(times, default=None)

    def _choose(self, desk: Desk, room: int) -> Choice:
        if self._may_try(desk.account):
            with self._apart(desk.account):
                return desk.choose(room)
        return Choice([], [], self._failing[desk.account])


def _arrival(popped: Popped) -> Arrival:
    return Arrival(popped.raw, popped.place.queue, popped.place.name or None, popped.losses)


def _terms(lease: Lease) -> dict[str, Any]:
    return {"lease_key": lease_key(lease.name), "lease_value": lease.value, "fence": lease.fence}
