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

import structlog

from worker68.broker.inbox import Inbox
from worker68.broker.source import Source
from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, LeaseLost, RedisAway, RowsLocked
from worker68.execution import recovery
from worker68.execution.desk import Desk
from worker68.execution.intake import Intake
from worker68.execution.slots import Choice, Ready
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.observe import outages
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.schema import check_version

log = structlog.get_logger(__name__)

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
        self._source = source
        self._inbox = Inbox(source, intake, lambda account: self._desks[account].room, announce)
        self._begin = begin
        self._open_desk = open_desk
        self._announce = announce
        self._defer = defer
        self._concurrency = concurrency
        self._desks: dict[str, Desk] = {}
        self._front: Lease | None = None
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
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

    def job_ended(self, account: str) -> None:
        """A job of the account is not under way any more: the next one may be ready, and there may be room for another."""
        self._ended.put(account)
        self.wake()

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
                look_again_at = self._turn()
                self.turned_at = monotonic()
                self.seconds.observe(self.turned_at - began)
                self._wait(look_again_at)
            except (DatabaseAway, RedisAway) as away:
                self._note_away(away)
                self._pause()
            except BaseException as error:  # noqa: BLE001 - a worker whose pump has ended is alive and takes nothing in
                _FAILED.fails("pump", error)
                self._pause()

    def _turn(self) -> float:
        """Tend, take in and let begin once; return when to do so again at the latest (monotonic seconds)."""
        self._apply_changes()
        if not self._database_seen:
            check_version(self._engine)
            self._database_seen = True
        self._open_desks()
        self._tend()  # first, because it counts how much room a new desk has
        self._take_in()
        _, look_again_at = self._begin_ready()
        for outage in (outages.DATABASE, outages.REDIS, _FAILED):
            outage.works("pump")
        next_look_at = self._inbox.next_look_at
        return next_look_at if look_again_at is None else min(look_again_at, next_look_at)

    def _pause(self) -> None:
        """Something failed half-way, so what was written may not have come into memory, nor what was popped."""
        for desk in self._desks.values():
            desk.distrust()
        self._stopping.wait(PAUSE_SECONDS)

    def _wait(self, until: float) -> None:
        timeout = max(0.0, until - monotonic())
        readable, _, _ = select.select([self._bell, self._source.fileno()], [], [], timeout)
        if self._bell in readable:
            os.eventfd_read(self._bell)
            self._rung = False  # before the look at what there is, or a ring in between is lost

    def _note_away(self, away: DatabaseAway | RedisAway) -> None:
        """Look at the database's version before anything else when what is away may be back."""
        outage = outages.DATABASE if isinstance(away, DatabaseAway) else outages.REDIS
        outage.fails("pump", away)
        self._database_seen = False

    # Ownership

    def _apply_changes(self) -> None:
        while not self._changes.empty():
            lease, gained = self._changes.get()
            if not gained:
                self._inbox.lose(lease)
            if lease.account is None:
                self._front = lease if gained else None
                if gained:
                    self._inbox.gain(lease)
            elif gained:
                self._unopened[lease.account] = lease
            else:
                self._unopened.pop(lease.account, None)
                self._desks.pop(lease.account, None)

    def _open_desks(self) -> None:
        """Open a desk for each account gained; one that the database did not let open is tried again."""
        for account, lease in list(self._unopened.items()):
            if not self._may_try(account):
                continue
            with self._apart(account):
                try:
                    self._desks[account] = self._open_desk(account, lease)
                    self._inbox.gain(lease)
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

    def _take_in(self) -> None:
        while not self._ended.empty():
            self._inbox.note_room(self._ended.get())
        if jobs := self._inbox.take_in():
            self._hand_over(jobs)

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
