"""The runtime: builds everything that a worker process runs on, and starts and stops it in order.

In: the settings. Out: one object that starts and stops them. The only place where things are built.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import queue
import socket
import time
import uuid
from collections.abc import Sequence

import structlog
from redis import Redis

from worker68.bridge.correlation import LateEvidence
from worker68.bridge.link import Link
from worker68.bridge.loop import BridgeIO
from worker68.bridge.session import LinkOptions
from worker68.broker.bindings import bind_queues
from worker68.broker.place import FRONT_DOOR, queue_of
from worker68.broker.pump import Pump
from worker68.broker.source import Source
from worker68.clock import Deadline, utc_now
from worker68.errors import DatabaseAway, DatabaseUnfit, LeaseLost, SettingsError
from worker68.execution import recovery
from worker68.execution.desk import Desk
from worker68.execution.dispatch import LANE_DEPTH, Dispatch
from worker68.execution.execute import Execution
from worker68.execution.faults import run_apart
from worker68.execution.gate import Gate
from worker68.execution.intake import Intake
from worker68.execution.kept import Kept
from worker68.execution.late import LateDesk
from worker68.execution.pacing import LeadTime, Pacing
from worker68.execution.recorder import Recorder
from worker68.execution.relay import Relay
from worker68.execution.slots import Ready
from worker68.execution.watch import PauseWatch
from worker68.fleet.leases import FRONT, Lease, Leases, account_lease
from worker68.fleet.ownership import Ownership
from worker68.jobs.job import Job
from worker68.limits.limiter import Limiter
from worker68.limits.pace import Pace
from worker68.loop import LoopThread, Stopping
from worker68.observe.feed import Began, Cancelled, Conclusion, Deferred, Ended, Feed
from worker68.observe.parts import Parts
from worker68.observe.runs import Runs
from worker68.observe.vitals import Vitals
from worker68.settings import Settings
from worker68.store import waiting
from worker68.store.engine import open_engine, reading
from worker68.store.writer import Writer

log = structlog.get_logger(__name__)

#: A Redis that does not answer within this is away; every command that is sent here is answered in milliseconds.
REDIS_TIMEOUT_SECONDS = 5.0

#: A stop waits so long for what is under way: as long as the default VERDICT_TIMEOUT, and a little for the write before it.
CUT_AFTER_SECONDS = 35.0
#: So long after its beginning a stop ends the process whatever hangs (Redis, the database, Celery): whoever stops us kills soon.
END_AFTER_SECONDS = 43.0
#: So much later it ends also where its last line cannot be written: no more than the 45 s that whoever stops us gives.
LAST_WORDS_SECONDS = 1.0
#: What was cut off needs one commit to be recorded.
RECORD_SECONDS = 3.0


class Runtime:
    """Everything of one worker process. Start it, drain it, await its jobs, stop it, in this order."""

    def __init__(self, settings: Settings) -> None:
        self._accounts = settings.account_settings()
        if not self._accounts:
            raise SettingsError("no account: set WORKER68_BRIDGE_URL (account main) or WORKER68_ACCOUNTS")
        self._owner = f"{socket.gethostname()[:80]}-{uuid.uuid4().hex[:12]}"
        self.loop = LoopThread(settings.concurrency)
        self._stopping = Stopping(self.loop.loop)
        # Told from a signal handler, which may interrupt another one, or itself: the put of this queue alone allows that.
        self._asked_to_stop: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Gets something when no job is under way any more, or when that is not to be waited for: also from a signal handler.
        self._jobs_over: queue.SimpleQueue[None] = queue.SimpleQueue()
        redis_url = settings.require_redis_url()
        self._redis = Redis.from_url(
            redis_url,
            protocol=2,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            socket_keepalive=True,
            health_check_interval=10,
        )
        self.engine = open_engine(settings.database_url)
        self._writer = Writer(self.engine)
        self._limiter = Limiter(self._redis)
        self._pace = Pace(self._redis)
        self.runs = Runs(self._accounts)
        self.feed = Feed()
        self._relay = Relay(self.engine, self._redis, int(settings.reply_ttl), self)
        self._links: dict[str, Link] = {}
        self._bridge_problems: dict[str, str | None] = {}
        self._revoking = asyncio.Lock()
        self._kept = Kept(self._redis)
        self._late = LateDesk(self._writer, self._kept, self._relay.wake)
        self._bridge = BridgeIO(
            on_state=self._on_bridge_state, on_late_evidence=self._on_late_evidence, on_event=self._on_event
        )
        self._intake = Intake(self.engine, self._accounts)
        self._pump = Pump(
            self.engine,
            self._intake,
            Source(redis_url),
            lambda desk, ready: self.loop.begin(self._run(desk, ready)),
            self._open_desk,
            self._relay.wake,
            self._defer,
            settings.concurrency,
        )
        self._watch = PauseWatch(self.engine, self._owner, self._pump.wake)
        self._leases = Leases(self._redis, self._owner, settings.lease_ttl)
        names = [FRONT, *map(account_lease, self._accounts)]
        self._ownership = Ownership(
            self._leases, names, self.loop.loop, on_gained=self._pump.gained, on_lost=self._lost
        )
        parts = Parts(
            owner=self._owner,
            accounts=self._accounts,
            engine=self.engine,
            redis=self._redis,
            writer=self._writer,
            relay=self._relay,
            bridge=self._bridge,
            pump=self._pump,
            ownership=self._ownership,
            links=self._links,
            runs=self.runs,
            loop=self.loop,
        )
        self.vitals = Vitals(parts, settings)

    def look_at_database(self) -> None:
        """Raise ``SettingsError`` where the database can never be used. One that is away, or has no tables yet, is waited for."""
        try:
            with reading(self.engine):
                pass
        except DatabaseUnfit as unfit:
            raise SettingsError(str(unfit)) from None
        except DatabaseAway:
            return  # the pump says so

    def start(self) -> None:
        log.info("worker_starts", owner=self._owner, accounts=sorted(self._accounts))
        self.loop.start()
        self._writer.start()
        self._relay.start()
        self._late.start()
        self._bridge.start()
        self._watch.start()
        self._pump.start()
        self.loop.serve("leases", self._ownership)
        self.vitals.start()

    def bind_queues(self) -> None:
        """Let a message that names the exchange of a queue reach this queue alone. Raises ``RedisAway``."""
        bind_queues(self._redis, [FRONT_DOOR, *map(queue_of, self._accounts)])

    def ask_to_stop(self, *, at_once: bool = False) -> None:
        """A signal has asked this process to end: from now on its time runs. Safe in a signal handler.

        ``at_once``: do not wait for the jobs under way.
        """
        self._asked_to_stop.put(None)
        if at_once:
            self._jobs_over.put(None)

    def drain(self) -> None:
        """Take nothing in and begin nothing any more; what is begun goes on to its end, and this process ends in bounded time."""
        self.ask_to_stop()
        self._stopping.set()
        self.vitals.drain()
        self._pump.stop()

    def await_jobs(self) -> None:
        """After ``drain``: wait until no job is under way, or until the process is to end at once."""

        async def wait() -> None:
            await self.runs.idle.wait()
            self._jobs_over.put(None)

        self.loop.begin(wait())  # after all jobs that the pump has let begin
        self._jobs_over.get()

    def stop(self) -> None:
        """Close everything. Jobs that are still under way end now."""
        self.drain()
        self.vitals.stop()
        self._bridge.stop()
        self._await_records()
        self.loop.run(self._stop_services())
        self.loop.stop()
        self._watch.stop()
        self._late.stop()
        self._writer.stop()
        self._relay.stop()
        self.engine.dispose()
        self._redis.close()
        log.info("worker_stopped", owner=self._owner)

    async def _stop_services(self) -> None:
        await self.loop.break_off_jobs()
        if not await self.loop.stop_service("leases", self._leases.ttl_seconds):
            log.warning("leases_left_to_lapse", leases=[lease.name for lease in self._ownership.held()])

    def bound_the_stop(self) -> None:
        """See to it that a stop ends, from the signal on: Celery's own thread may hang in a call to Redis before it drains.

        For a thread of its own in a process that is a worker and nothing else: it ends the process.
        """
        self._asked_to_stop.get()
        end = Deadline.after(END_AFTER_SECONDS)
        # A thread of the interpreter's own, in C. It ends the process also where a line of the log waits for its reader for ever,
        # and where a thread hangs with the interpreter's lock.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        faulthandler.dump_traceback_later(END_AFTER_SECONDS + LAST_WORDS_SECONDS, exit=True, file=nowhere)
        self._stopping.set()
        self._pump.wake()
        time.sleep(CUT_AFTER_SECONDS)
        log.warning("stop_hurried", under_way=len(self.runs.under_way), remedy="what no verdict came for is in doubt")
        self._bridge.stop()
        time.sleep(end.remaining())
        log.error(
            "stop_overdue", remedy="the process ends now, as a crash would: the next owner takes over what is left"
        )
        os._exit(1)

    def _await_records(self) -> None:
        """Let jobs whose calls have just been ended write down how they ended."""
        patience = Deadline.after(RECORD_SECONDS)
        while self.runs.under_way and not patience.passed:
            time.sleep(0.02)

    async def _run(self, desk: Desk, ready: Ready) -> None:
        """Run a job whose turn has come. On the loop."""
        run = self.runs.begin(ready)
        self.feed.note(Began(ready.job))
        conclusion: Conclusion = None
        try:
            conclusion = await run_apart(desk.execution, ready)
        finally:
            self.runs.end(run, conclusion)
            self.feed.note(Ended(ready.job, conclusion, run.seconds))
            self._pump.wake()

    async def revoke(self, task_ids: Sequence[str]) -> waiting.Cancelled | None:
        """Cancel the waiting jobs of these Celery ids; return what came of it, None where it failed. On the loop."""
        try:
            async with self._revoking:  # one at a time: a database that hangs must not cost the jobs their threads
                cancelled = await asyncio.to_thread(waiting.cancel, self.engine, task_ids, "revoked", utc_now())
        except DatabaseAway as away:
            log.error("revoke_failed", task_ids=task_ids, problem=str(away), remedy="revoke again when it is back")
            return None
        except Exception:
            log.exception("revoke_failed", task_ids=task_ids)
            return None
        # Every worker hears of a revoke: another one may have been quicker, and left it to this one to let the next of the lane go.
        for desk in self._pump.desks():
            desk.execution.dispatch.forget({*cancelled.ended, *cancelled.before})
        self._pump.wake()
        log.info("jobs_cancelled", task_ids=task_ids, cancelled=len(cancelled.ended), too_late=len(cancelled.too_late))
        self._relay.wake()
        if cancelled.ended:
            self.feed.note(*map(Cancelled, task_ids))
        return cancelled

    def owned_accounts(self) -> list[str]:
        return self._pump.owned_accounts()

    def others(self) -> list[str] | None:
        """Return the accounts whose parcels their own owners publish; None where that is not this worker's business."""
        return sorted(self._accounts) if self._pump.owns_front else None

    def _open_desk(self, name: str, lease: Lease) -> Desk:
        """Build the way of an account's jobs under a new lease, and resolve what older owners left.

        Raises ``DatabaseAway``, ``RedisAway``, and ``LeaseLost`` where the lease has ended meanwhile.
        """
        account = self._accounts[name]
        for seen in recovery.record_kept(self.engine, self._kept, name, utc_now()):
            self._late.hand_in(name, seen, kept=True)
        recovery.take_over(self.engine, name, lease.fence, utc_now())
        permit = self._watch.open(name)
        gate = Gate(account.limits, lambda: lease.held, self._pump.wake)
        options = LinkOptions(
            match=account.verdict_match, newline=account.newline, guard=permit.why_not, on_busy=gate.note_busy
        )
        link = self._links[name] = self._bridge.open(name, account.bridge_url, options)
        if not lease.held:  # lost meanwhile, when there was nothing to close yet
            self._bridge.close(name)
            self._watch.close(name)
            raise LeaseLost(f"the lease of {name} ended while its desk was opened")
        lead = LeadTime()
        dispatch = Dispatch(
            account,
            self._limiter,
            lambda lanes: waiting.load_lanes(self.engine, name, LANE_DEPTH, lanes),
            lambda: max(0.0, lead.commit_seconds - gate.tolerance_seconds),
        )
        execution = Execution(
            account=account,
            owner=self._owner,
            fence=lease.fence,
            owned=lambda: lease.held,
            link=link,
            dispatch=dispatch,
            limiter=self._limiter,
            permit=permit,
            gate=gate,
            pacing=Pacing(name, self._pace, gate),
            lead=lead,
            engine=self.engine,
            writer=self._writer,
            recorder=Recorder(name, self._kept, self._stopping),
            stopping=self._stopping,
            announce=self._relay.wake,
            wake=self._pump.wake,
        )
        return Desk(execution, self._intake)

    def _lost(self, lease: Lease) -> None:
        self._pump.lost(lease)
        if lease.account is not None:
            self._bridge.close(lease.account)
            self._watch.close(lease.account)

    def _defer(self, jobs: Sequence[Job]) -> None:
        """Say of jobs just taken in that they wait: in Celery's results, and as an event."""
        self._relay.defer([job.task_id for job in jobs if job.wants_result])
        self.feed.note(*map(Deferred, jobs))

    def _on_bridge_state(self, account: str, problem: str | None) -> None:
        """Say on a change whether the bridge can be used, and let what waits for it go."""
        if self._bridge_problems.get(account, "") != problem:
            self._bridge_problems[account] = problem
            if problem is None:
                log.info("bridge_ready", account=account)
            else:
                log.warning("bridge_not_ready", account=account, reason=problem, remedy="trying again; jobs wait")
        self._pump.wake()

    def _on_late_evidence(self, account: str, seen: LateEvidence) -> None:
        self._late.hand_in(account, seen)

    def _on_event(self, account: str, operator: str, raw: bytes) -> None:
        self._relay.publish_event(account, raw)
