"""The runtime: builds everything that a worker process runs on, and starts and stops it in order.

In: the settings. Out: one object that starts and stops them. The only place where things are built.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Awaitable, Sequence
from functools import partial

import structlog

from worker68.bridge.correlation import LateEvidence
from worker68.bridge.exchange import Listener
from worker68.bridge.link import Bridges
from worker68.broker.bindings import Bindings
from worker68.broker.client import make_client
from worker68.broker.inbox import Inbox
from worker68.broker.source import Source
from worker68.clock import Deadline, utc_now
from worker68.errors import DatabaseAway, DatabaseUnfit, LeaseLost, RedisAway, RedisForbids, SettingsError
from worker68.execution import recovery
from worker68.execution.account import Account
from worker68.execution.execute import Execution, run_apart
from worker68.execution.intake import Intake
from worker68.execution.late import LateOffers
from worker68.execution.pause_watch import PauseWatch
from worker68.execution.recorder import Kept
from worker68.execution.relay import Relay
from worker68.execution.shared import Shared
from worker68.execution.slots import Ready
from worker68.execution.under_way import Capacity
from worker68.execution.unfinished import Unfinished
from worker68.fleet.accounts import Accounts, AccountWatch, Change
from worker68.fleet.catalogues import Catalogues
from worker68.fleet.leases import Lease, Leases, account_lease
from worker68.fleet.members import Members
from worker68.fleet.ownership import Callbacks, Ownership
from worker68.fleet.shares import Shares, Standing
from worker68.jobs.job import Job
from worker68.jobs.outcome import Outcome
from worker68.limits.limiter import Limiter
from worker68.limits.pace import Pace
from worker68.loop import Gathered, LoopThread, Stopping
from worker68.observe.metrics import LoopLag
from worker68.observe.parts import Parts
from worker68.observe.runs import Began, Cancelled, Conclusion, Deferred, Ended, Feed, Runs
from worker68.observe.vitals import Vitals
from worker68.scheduling.owned_accounts import OwnedAccounts
from worker68.scheduling.scheduler import Scheduler, Starter
from worker68.settings import Settings
from worker68.store import waiting
from worker68.store.accounts import note_taken
from worker68.store.engine import open_engine, reading
from worker68.store.schema import check_version, current_version
from worker68.store.writer import Writer
from worker68.watchdog import Watchdog

log = structlog.get_logger(__name__)

#: A Redis that does not answer within this is away; every command that is sent here is answered in milliseconds.
REDIS_TIMEOUT_SECONDS = 5.0

#: An account that leaves waits for the jobs under way: for its verdicts, and for all else so much longer.
LEAVE_SECONDS = 30.0

#: A stop waits so long for the end of a round of the scheduler, and for what is under way: as long as the default VERDICT_TIMEOUT,
#: and a little for the write before it.
CUT_AFTER_SECONDS = 35.0
#: What was cut off needs one commit to be recorded.
RECORD_SECONDS = 3.0
#: Celery's thread waits so long for a stop. The watchdog ends the process before.
STOP_SECONDS = 60.0


class Runtime:
    """Everything of one worker process: it is started, and stopped."""

    def __init__(self, settings: Settings) -> None:
        self._owner = f"{socket.gethostname()[:80]}-{uuid.uuid4().hex[:12]}"
        self.loop = LoopThread(settings.concurrency)
        self._stopping = Stopping(self.loop.loop)
        self._watchdog = Watchdog(self.loop)
        self._at_once = asyncio.Event()  # jobs under way are not to be waited for
        self._stop_task: asyncio.Task[None] | None = None
        self._stopped = threading.Event()
        redis_url = settings.require_redis_url()
        self._redis = make_client(
            redis_url,
            protocol=2,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            socket_keepalive=True,
            health_check_interval=10,
        )
        self.engine = open_engine(settings.database_url)
        self._writer = Writer(self.engine)
        self._accounts = Accounts(settings, self.engine, self._note_change)
        self._account_watch = AccountWatch(self._accounts, self.loop.loop)
        self.runs = Runs()
        self.feed = Feed()
        self._relay = Relay(self.engine, self._redis, int(settings.reply_ttl), self, self.loop.loop)
        self._bindings = Bindings(self._redis, self._relay.refusals)
        self._kept = Kept(self._redis)
        self._late = LateOffers(self._writer, self._kept, self._relay.wake, self.loop.loop)
        capacity = Capacity(settings.concurrency)
        intake = Intake(self.engine, self._accounts, self._accounts.look)
        self._shared = Shared(
            engine=self.engine,
            writer=self._writer,
            slots=Gathered(Limiter(self._redis).acquire_each),
            capacity=capacity,
            pace=Pace(self._redis),
            kept=self._kept,
            intake=intake,
            stopping=self._stopping,
            announce=self._relay.wake,
            wake=lambda account: self._scheduler.wake(account),
        )
        inbox = Inbox(Source(redis_url), intake, self._relay.wake)
        self._owned = OwnedAccounts(self._open_account, inbox)
        starter = Starter(self._owned, capacity, self._begin, self._defer, self._stopping)
        check_database = partial(check_version, self.engine)
        self._scheduler = Scheduler(self._owned, inbox, starter, check_database, self._stopping, self.loop.loop)
        listener = Listener(
            on_change=self._scheduler.wake,
            on_late_evidence=self._late.hand_in,
            on_event=lambda account, _operator, raw: self._relay.publish_event(account, raw),
        )
        self._bridges = Bridges(self.loop.loop, listener)
        self._lag = LoopLag(self.loop.loop)
        self._pause_watch = PauseWatch(self.engine, self._owner, self.loop.loop, self._scheduler.wake)
        self._unfinished = Unfinished(self.engine, self._owned.names, self._sweep, self.loop.loop)
        self._lease_seconds = settings.lease_ttl
        self._leases = Leases(self._redis, self._owner, settings.lease_ttl)
        standing = Standing(settings.weight, frozenset(settings.labels))
        members = Members(self._redis, self._owner, settings.lease_ttl)
        shares = Shares(members, Catalogues(self._redis, settings.lease_ttl), standing)
        callbacks = Callbacks(
            on_gained=self._scheduler.gained,
            on_lost=self._lost,
            on_leaving=self._scheduler.leaving,
            is_busy=self._owned.is_busy,
            leave_seconds=self._leave_seconds,
        )
        self._ownership = Ownership(self._leases, shares, lambda: self._accounts.labels, self.loop.loop, callbacks)
        parts = Parts(
            accounts=self._accounts,
            engine=self.engine,
            redis=self._redis,
            writer=self._writer,
            relay=self._relay,
            owned=self._owned,
            scheduler=self._scheduler,
            ownership=self._ownership,
            runs=self.runs,
            loop=self.loop,
            lag=self._lag,
        )
        self.vitals = Vitals(parts, settings, self._watchdog)

    def look_at_database(self) -> None:
        """Raise ``SettingsError`` where the database can never be used, or no account stands there nor in the settings.

        One that is away is waited for, and so is one that has no tables yet.
        """
        try:
            with reading(self.engine):
                pass
            if self._accounts or self._has_accounts_in_sql():
                return
        except DatabaseUnfit as unfit:
            raise SettingsError(str(unfit)) from None
        except DatabaseAway:
            return  # the scheduler says so
        raise SettingsError(
            "no account: set WORKER68_BRIDGE_URL (account main) or WORKER68_ACCOUNTS, or add one to the database: "
            "worker68 accounts add"
        )

    def _has_accounts_in_sql(self) -> bool:
        """Return whether accounts stand in the database, or may stand there once it is migrated. Raises ``DatabaseAway``."""
        try:
            self._accounts.look()
        except DatabaseUnfit:
            return current_version(self.engine) is not None
        return bool(self._accounts)

    def look_at_redis(self) -> None:
        """Raise ``SettingsError`` where its user may not run scripts: Celery cannot start then. One that is away is waited for."""
        try:
            self._leases.acquire([])
        except RedisForbids as forbidden:
            raise SettingsError(str(forbidden)) from None
        except RedisAway:
            return  # the leases say so

    def start(self) -> None:
        log.info("worker_starts", owner=self._owner, accounts=sorted(self._accounts))
        self.loop.start()
        self.loop.loop.tell(self._lag.start)
        self._watchdog.start()
        self._writer.start()
        self.loop.serve("relay", self._relay)
        self.loop.serve("late", self._late)
        self.loop.serve("accounts", self._account_watch)
        self.loop.serve("pauses", self._pause_watch)
        self.loop.serve("unfinished", self._unfinished)
        self.loop.serve("scheduler", self._scheduler)
        self.loop.serve("leases", self._ownership)
        self.loop.serve("health", self.vitals)

    def bind_queues(self) -> None:
        """Let a message that names the exchange of a queue reach it alone. Raises ``RedisAway``."""
        self._bindings.bind_all(self._owned.names())  # all, from each worker of a fleet, would keep Redis busy for long

    def ask_to_stop(self, *, at_once: bool = False) -> None:
        """Begin to stop this process, whose time runs from now on. Safe in a signal handler; a second time changes nothing.

        ``at_once``: do not wait for the jobs under way.
        """
        self._watchdog.bound_stop()
        self.loop.loop.tell(partial(self._begin_stop, at_once))

    def stop(self) -> None:
        """Stop, if that has not begun, and wait until it is done. On Celery's thread, which must end the process afterwards."""
        if self.loop.ident is not None:
            self.loop.loop.tell(partial(self._begin_stop, False))
            self._stopped.wait(STOP_SECONDS)
            self.loop.stop()
        self.engine.dispose()
        self._redis.close()
        log.info("worker_stopped", owner=self._owner)

    def _begin_stop(self, at_once: bool) -> None:
        if at_once:
            self._at_once.set()
        if self._stop_task is None:
            self._stop_task = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        """Stop in order, from the signal on: Celery's own thread may hang in a call to Redis before it comes to that."""
        cut = Deadline.after(CUT_AFTER_SECONDS)
        try:
            self._stopping.set()  # what waits for its slot is given back
            self.vitals.drain()
            self._ownership.drain()  # an account that becomes free is for a worker that takes its jobs in
            await _try(self.loop.stop_service("scheduler", cut.remaining()))  # nothing is taken in, nothing begins
            await _try(self._await_verdicts(cut))
            await _try(self.loop.stop_service("health", RECORD_SECONDS))
            await _try(self.loop.stop_service("unfinished", RECORD_SECONDS))
            await _try(self._close_links())  # every wait for a verdict ends
            await _try(asyncio.wait_for(self.runs.idle.wait(), RECORD_SECONDS))  # which is recorded
            await _try(self.loop.break_off_jobs())  # as a crash would, with a note in Redis
            await _try(self.loop.stop_service("leases", self._lease_seconds))
            await _try(self.loop.stop_service("accounts", RECORD_SECONDS))
            await _try(self.loop.stop_service("pauses"))
            await _try(self.loop.stop_service("late"))
            await _try(asyncio.to_thread(self._writer.stop))
            await _try(self.loop.stop_service("relay"))  # the outbox is published once more
            await _try(asyncio.to_thread(self.vitals.close))
        finally:
            self._watchdog.stop()
            self._stopped.set()

    async def _await_verdicts(self, cut: Deadline) -> None:
        """Wait until no job is under way, or until that is not to be waited for."""
        events = [asyncio.ensure_future(event.wait()) for event in (self.runs.idle, self._at_once)]
        done, waiting_for = await asyncio.wait(events, timeout=cut.remaining(), return_when=asyncio.FIRST_COMPLETED)
        for event in waiting_for:
            event.cancel()
        if not done and self.runs.under_way:
            remedy = "what no verdict came for is in doubt"
            log.warning("stop_hurried", under_way=len(self.runs.under_way), remedy=remedy)

    def _begin(self, account: Account, ready: Ready) -> None:
        self.loop.begin(self._run(account, ready))

    async def _run(self, account: Account, ready: Ready) -> None:
        """Run a job whose turn has come. On the loop."""
        run = self.runs.begin(ready)
        self.feed.note(Began(ready.job))
        conclusion: Conclusion = None
        try:
            conclusion = await run_apart(Execution(account), ready)
        finally:
            if not isinstance(conclusion, Outcome) and ready.job.wants_result:
                self._relay.defer([(ready.job.task_id, 0.0)])  # it waits again
            self.runs.end(run, conclusion)
            self.feed.note(Ended(ready.job, conclusion, run.seconds))
            self._scheduler.job_ended(ready.job.account)

    def note_cancelled(self, task_ids: Sequence[str], cancelled: waiting.Cancelled) -> None:
        """Let the next of each lane go. Another worker may have cancelled the job: each of them hears of a revoke."""
        seqs = {*cancelled.ended, *cancelled.before}
        for name in cancelled.accounts:
            if (account := self._owned.find(name)) is not None and account.dispatch.forget(seqs):
                self._scheduler.wake(name)
        self._relay.wake()
        if cancelled.ended:
            self.feed.note(*map(Cancelled, sorted(set(task_ids) - set(cancelled.unseen))))

    def _sweep(self, name: str) -> None:
        """Look in SQL for what memory may have missed of an account."""
        if (account := self._owned.find(name)) is not None:
            account.upkeep.note_unfinished()
            self._scheduler.wake(name)

    def owned_accounts(self) -> list[str]:
        return self._owned.names()

    def queues(self) -> list[str]:
        """Return the queues from which this worker takes jobs in now. From any thread."""
        return self._owned.queues()

    def others(self) -> list[str] | None:
        """Return the accounts whose entries their own owners publish; None where that is not this worker's business."""
        return self._accounts.all_names() if self._owned.owns_front else None

    async def _open_account(self, name: str, lease: Lease) -> Account:
        """Build an account under a new lease, and resolve what older owners left.

        Raises ``DatabaseAway``, ``RedisAway``, and ``LeaseLost`` where the lease has ended meanwhile.
        """
        for seen in await asyncio.to_thread(self._take_over, lease, name):
            self._late.hand_in(name, seen, kept=True)
        settings = self._accounts.get(name)
        if settings is None:
            raise LeaseLost(f"the account {name} was removed before it was opened, or its row is wrong here")
        if not lease.held:  # lost meanwhile, when there was nothing to close yet
            raise LeaseLost(f"the lease of {name} ended while the account was opened")
        self.runs.expect(name)
        open_link = partial(self._bridges.open, name, settings.bridge_url)
        return Account(settings, lease, self._pause_watch.open(name), self._shared, open_link)

    def _take_over(self, lease: Lease, name: str) -> list[LateEvidence]:
        """Write down what older owners of an account left; return the late evidence among it. In the pool.

        What holds for the account is asked first: an owner has what was changed before its lease, and the bridge that was left
        then is never connected to again.
        """
        self._accounts.look()
        row = self._accounts.known.rows.get(name)
        if row is not None and not row.is_taken and lease.held:
            note_taken(self.engine, name, row.version)
        self._bindings.bind(name)
        seen = recovery.record_kept(self.engine, self._kept, name, utc_now())
        recovery.take_over(self.engine, name, lease.fence, utc_now())
        return seen

    def _leave_seconds(self, lease: Lease) -> float:
        """Return how long to wait for the jobs under way of an account that leaves."""
        account = self._owned.find(lease.account or "")
        return LEAVE_SECONDS + (account.settings.verdict_timeout if account is not None else 0.0)

    def _note_change(self, change: Change) -> None:
        """Accounts have come, changed or gone. In the pool."""
        self.loop.loop.tell(partial(self._apply, change))

    def _apply(self, change: Change) -> None:
        """Let go what has changed or gone: it is drained and closed; what has changed is taken anew, by any worker."""
        self._ownership.look_anew(map(account_lease, (*change.changed, *change.went)))

    async def _close_links(self) -> None:
        self._bridges.stop()

    def _lost(self, lease: Lease) -> None:
        self._scheduler.lost(lease)
        if lease.account is not None:
            self._bridges.close(lease.account)
            self._pause_watch.close(lease.account)

    def _defer(self, jobs: Sequence[Job]) -> None:
        """Say of jobs just taken in that they wait: in Celery's results, and as an event."""
        self._relay.defer([(job.task_id, _due_in(job)) for job in jobs if job.wants_result])
        self.feed.note(*map(Deferred, jobs))


def _due_in(job: Job) -> float:
    return 0.0 if job.due_at is None else (job.due_at - utc_now()).total_seconds()


async def _try(step: Awaitable[object]) -> None:
    """Take one step of a stop. What fails there must not keep the next ones from being taken."""
    try:
        await step
    except TimeoutError:
        pass
    except Exception:
        log.exception("stop_step_failed")
