"""What a step may have of execution while it runs: further slots, time, a place for rows, a word about how far it has come.

In: the attempt and its account. Out: slots under the account's limits. Each wait ends when the worker stops or loses the account,
and that of a read when the account is about to go to another worker, as ``TurnOver``. Never: a frame.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TypeVar

import msgspec
import structlog

from worker68.clock import Deadline, monotonic
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.account import Account
from worker68.execution.recorder import written
from worker68.execution.slots import NOT_OWNED, JobFrames, ask_again_at, slot_of
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain
from worker68.jobs.snapshot import Row
from worker68.jobs.task import LimitClass, Nature
from worker68.limits.limiter import Ask, Grant, Request
from worker68.observe import outages
from worker68.store.snapshots import known_members
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.writer import each
from worker68.tasks.turn import TurnOver

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: A bridge that is away in the middle of a step is waited for this long; then the job begins anew when it is back.
BRIDGE_PATIENCE_SECONDS = 60.0
#: A frame is handed over this long before its slot; the link keeps the time to the millisecond.
HAND_OVER_SECONDS = 0.05
#: The longest sleep: whether the account is still ours is looked at in between.
SLICE_SECONDS = 1.0
#: A read of many frames lets sends and changes go first, whose class comes before; but each frame no longer than this, so that
#: it ends also on an account that is never idle.
GIVE_WAY_SECONDS = 30.0
LOOK_SECONDS = 0.1
#: Progress is written at most this often; what takes no longer shows none.
PROGRESS_SECONDS = 2.0


class StepContext:
    """The context of one attempt. On the loop. ``kept`` closes what was collected."""

    def __init__(self, account: Account, attempt: Attempt, frames: JobFrames, kept: ExitStack) -> None:
        self._account = account
        self._attempt = attempt
        self._frames = frames
        self._kept = kept
        # It gives way to what is more urgent, and ends before its account moves. A change of several frames must not wait for what
        # waits for its end, such as a restart of the client, and would be made again by the next owner.
        self._is_read = attempt.job.now.nature is Nature.READ
        self._progress_at = monotonic() + PROGRESS_SECONDS

    async def wait_for_slot(self, limit: LimitClass, call: str) -> None:
        """Return shortly before a further frame may be written: the bridge is ready, and the account's limits have a slot."""
        account = self._account
        patience, politeness = Deadline.after(BRIDGE_PATIENCE_SECONDS), Deadline.after(GIVE_WAY_SECONDS)
        ask = Ask(None, limit, call)
        while True:
            if (reason := account.guard.why_not()) is not None:
                raise _over(reason)
            if not account.link.ready:
                if patience.passed:
                    raise _over("the bridge went away in the middle of it")
                await self.pause(SLICE_SECONDS)
                continue
            if self._is_read and not politeness.passed and account.dispatch.has_more_urgent():
                await self.pause(LOOK_SECONDS)
                continue
            try:
                (answer,) = await account.shared.slots.ask(Request(account.name, account.settings.limits, [ask]))
            except RedisAway as away:
                outages.REDIS.fails("execution", away)
                await self.pause(SLICE_SECONDS)
                continue
            outages.REDIS.works("execution")
            if isinstance(answer, Grant):
                self._frames.renew(slot_of(ask, answer, monotonic()))
                await self.pause(max(0.0, answer.wait_seconds - HAND_OVER_SECONDS))
                return
            await self.pause(ask_again_at(answer, 0.0))

    def note_call(self, call: str) -> None:
        self._frames.call = call

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        until = Deadline.after(seconds)
        while True:
            lease = self._account.lease
            if not lease.held:
                raise _over(NOT_OWNED)
            if lease.leaving and self._is_read:
                raise _over("the account goes to another worker")
            if await self._account.shared.stopping.rest(min(SLICE_SECONDS, until.remaining())):
                raise _over("the worker is stopping")
            if until.passed:
                return

    async def report(self, finding: Outcome | TryAgain) -> None:
        await self._account.pacing.report(finding, self._frames)

    async def note_progress(self, words: str) -> None:
        if monotonic() < self._progress_at:
            return
        self._progress_at = monotonic() + PROGRESS_SECONDS
        job = self._attempt.job
        log.info("job_goes_on", job_id=job.job_id, account=job.account, task=job.task, progress=words)
        try:
            await written(
                self._account.shared.writer,
                each,
                lambda connection: attempts.note_progress(connection, self._attempt, words),
            )
        except DatabaseAway as away:
            outages.DATABASE.fails("progress", away)

    def collect(self, row: type[Row]) -> RowBuffer:
        return self._kept.enter_context(closing(RowBuffer(row)))

    async def known_members(self, group_id: int) -> list[int]:
        """Look them up, however long the database is away: the job has not failed by that."""
        engine = self._account.shared.engine
        while True:
            try:
                return await asyncio.to_thread(known_members, engine, self._account.name, group_id)
            except DatabaseAway as away:
                outages.DATABASE.fails("execution", away)
                await self.pause(SLICE_SECONDS)

    def account_memory(self, kind: type[T]) -> T:
        memory = self._account.task_memory
        if kind not in memory:
            memory[kind] = kind()
        kept: T = memory[kind]
        return kept


def _over(reason: str) -> TurnOver:
    return TurnOver(TryAgain(ErrorCode.UNAVAILABLE, reason, spent=False))


#: Up to this much is kept in memory: most lists are shorter.
MEMORY_BYTES = 1024 * 1024
_LENGTH_BYTES = 4


class RowBuffer:
    """Rows of one type on their way from the bridge to the tables: a list may be longer than what a worker should hold in memory.

    They may be read as often as wanted: a transaction may have to be repeated. They lie in a temporary file without a name, so that
    nothing is left of a worker that dies. Used by one thread at a time. Closed, it is empty for good.
    """

    def __init__(self, row: type[Row]) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by its owner
        self._decoder = msgspec.msgpack.Decoder(list[row])  # type: ignore[valid-type]
        self._end = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Keep a page. Raises ``OSError`` where the disk is full."""
        packed = msgspec.msgpack.encode(rows)
        self._file.seek(self._end)
        self._file.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)
        self._end = self._file.tell()

    def __iter__(self) -> Iterator[Row]:
        place = 0
        while place < self._end:
            self._file.seek(place)
            size = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
            page = self._decoder.decode(self._file.read(size))
            place += _LENGTH_BYTES + size
            yield from page

    def close(self) -> None:
        self._file.close()
