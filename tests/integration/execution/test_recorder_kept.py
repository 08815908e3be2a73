"""What the database could not take lies in Redis, and whoever owns the account next writes it down: once, and where it fits."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from typing import Any

import pytest

from tests.parts.jobs import MUTE, NOW, message, mute_fields, send_fields
from tests.parts.ledger import FENCE, SENT, Ledger
from tests.parts.onloop import serve, stop_service
from worker68.bridge.correlation import LateEvidence
from worker68.embedded import EmbeddedRedis
from worker68.errors import DatabaseAway
from worker68.execution import recorder as recorder_module
from worker68.execution import recovery
from worker68.execution.late import LateOffers
from worker68.execution.recorder import BackedOff, Ended, Kept, NotWritten, Recorder, Seen
from worker68.jobs.evidence import Verdict
from worker68.jobs.states import State
from worker68.loop import Loop, LoopThread, Stopping
from worker68.store import waiting
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.writer import Writer

LATER = NOW + dt.timedelta(seconds=60)


@pytest.fixture
def kept(reader: Any) -> Kept:
    return Kept(reader)


def begun(ledger: Ledger, task_id: str = "t") -> Attempt:
    (job,) = ledger.arrive(message(kwargs=send_fields(reply_to="orders"), task_id=task_id))
    return ledger.must_begin(job)


def take_over(ledger: Ledger, kept: Kept) -> list[LateEvidence]:
    """Do as a new owner does."""
    seen = recovery.record_kept(ledger.engine, kept, "main", LATER)
    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)
    return seen


def test_an_outcome_that_was_kept_is_the_jobs_outcome(ledger: Ledger, kept: Kept) -> None:
    kept.keep("main", Ended(begun(ledger).key, SENT))
    take_over(ledger, kept)
    assert ledger.told() == ["t: succeeded"]
    assert kept.load("main") == []


def test_of_what_was_not_written_there_is_no_doubt(ledger: Ledger, kept: Kept) -> None:
    attempt = begun(ledger)
    kept.keep("main", NotWritten(attempt.key))
    take_over(ledger, kept)
    assert ledger.told() == []
    assert (ledger.row(attempt.seq).state, ledger.row(attempt.seq).attempts) == (State.READY, 0)


@pytest.mark.parametrize("note", ["ended", "not written"])
def test_what_was_seen_corrects_a_doubt_that_was_written_before_the_note_was_read(
    ledger: Ledger, kept: Kept, note: str
) -> None:
    attempt = begun(ledger)
    take_over(ledger, kept)
    kept.keep("main", Ended(attempt.key, SENT) if note == "ended" else NotWritten(attempt.key))
    take_over(ledger, kept)
    assert ledger.told() == ["t: worker_lost", "t: succeeded" if note == "ended" else "t: not_sent"]
    assert kept.load("main") == []


def test_an_announcement_that_was_not_written_leaves_what_was_done(ledger: Ledger, kept: Kept) -> None:
    (mute,) = ledger.arrive(message(MUTE, mute_fields()))
    attempt = ledger.must_begin(mute)
    assert ledger.run(lambda connection: attempts.advance(connection, attempt, {"muted": True}, NOW))
    (further,) = waiting.load_jobs(ledger.engine, [mute.seq])
    announcing = ledger.must_begin(further, 2)
    take_over(ledger, kept)
    kept.keep("main", NotWritten(announcing.key))
    take_over(ledger, kept)
    row = ledger.row(mute.seq)
    assert (row.status, row.error_code) == ("failed", "not_sent")
    assert '"muted":true' in row.result


def test_a_send_that_was_refused_as_busy_backs_off(ledger: Ledger, kept: Kept) -> None:
    attempt = begun(ledger)
    kept.keep("main", BackedOff(attempt.key, LATER, "busy", "the service is busy"))
    take_over(ledger, kept)
    row = ledger.row(attempt.seq)
    assert (row.state, row.due_at, row.attempts) == (State.DEFERRED, LATER, 1)


def test_what_was_recorded_after_all_is_not_recorded_again(ledger: Ledger, kept: Kept) -> None:
    attempt = begun(ledger)
    kept.keep("main", Ended(attempt.key, SENT))
    assert ledger.settle(attempt)
    take_over(ledger, kept)
    assert ledger.told() == ["t: succeeded"]


def test_a_note_of_another_attempt_or_account_changes_nothing(ledger: Ledger, kept: Kept) -> None:
    (mute,) = ledger.arrive(message(MUTE, mute_fields()))
    first = ledger.must_begin(mute)
    kept.keep("other", Ended(first.key, SENT))
    kept.keep("main", NotWritten(first.key))
    recovery.take_over(ledger.engine, "main", FENCE + 1, NOW)
    assert ledger.begin(mute, 2, owner="worker-b", fence=FENCE + 1) is not None
    recovery.record_kept(ledger.engine, kept, "main", LATER)
    assert ledger.row(mute.seq).state == State.SENDING


def test_a_note_that_nobody_can_read_hinders_nobody(ledger: Ledger, kept: Kept, reader: Any) -> None:
    reader.hset("worker68:kept:main", "0", "{")
    kept.keep("main", Ended(begun(ledger).key, SENT))
    take_over(ledger, kept)
    assert ledger.told() == ["t: succeeded"]


def test_notes_that_redis_refuses_do_not_keep_an_account_from_its_owner(
    ledger: Ledger, kept: Kept, reader: Any
) -> None:
    reader.set("worker68:kept:main", "x")
    begun(ledger)
    assert take_over(ledger, kept) == []
    assert ledger.told() == ["t: worker_lost"]


class TestLateEvidence:
    def test_what_a_stop_finds_unsettled_is_offered_by_the_next_owner(
        self, ledger: Ledger, writer: Writer, kept: Kept, loop_thread: LoopThread
    ) -> None:
        attempt = begun(ledger)
        late = LateOffers(writer, kept, lambda: None, loop_thread.loop)
        serve(loop_thread, late)
        late.hand_in("main", LateEvidence(str(attempt.job.custom_msg_id), Verdict.SENT, 4711, NOW))
        stop_service(loop_thread, late)
        assert [type(note) for note in kept.load("main")] == [Seen]
        (seen,) = take_over(ledger, kept)
        assert ledger.told() == ["t: worker_lost"]
        announced = threading.Event()
        late = LateOffers(writer, kept, announced.set, loop_thread.loop)
        serve(loop_thread, late)
        late.hand_in("main", seen, kept=True)
        assert announced.wait(60)
        stop_service(loop_thread, late)
        assert ledger.told() == ["t: worker_lost", "t: succeeded"]
        assert kept.load("main") == []


class TestRecorder:
    """A database that is away for a while, and what lies in Redis meanwhile."""

    @pytest.fixture(autouse=True)
    def without_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recorder_module, "PAUSE_SECONDS", 0.001)
        monkeypatch.setattr(recorder_module, "LAST_WRITE_SECONDS", 0.1)

    @pytest.fixture
    def recorder(self, kept: Kept, loop: Loop) -> Recorder:
        return Recorder("main", kept, Stopping(loop))

    @pytest.fixture
    def note(self, sqlite: Ledger) -> Ended:
        return Ended(begun(sqlite).key, SENT)

    def test_a_note_lies_in_redis_only_while_the_database_is_away(
        self, recorder: Recorder, loop: Loop, kept: Kept, note: Ended
    ) -> None:
        found = []

        async def write() -> str:
            found.append(kept.load("main"))
            if len(found) < 4:
                raise DatabaseAway("gone")
            return "written"

        assert loop.run_until_complete(recorder.until_written(write, note)) == "written"
        assert found == [[], [note], [note], [note]]
        assert kept.load("main") == []

    def test_an_outcome_is_not_lost_where_redis_refuses_its_note(
        self, recorder: Recorder, loop: Loop, note: Ended, reader: Any
    ) -> None:
        reader.set("worker68:kept:main", "x")
        tries = []

        async def write() -> str:
            tries.append(1)
            if len(tries) < 4:
                raise DatabaseAway("gone")
            return "written"

        assert loop.run_until_complete(recorder.until_written(write, note)) == "written"

    def test_a_stop_leaves_the_note(self, recorder: Recorder, loop: Loop, kept: Kept, note: Ended) -> None:
        async def write() -> None:
            raise DatabaseAway("gone")

        recorder.stopping.set()
        with pytest.raises(DatabaseAway):
            loop.run_until_complete(recorder.until_written(write, note))
        assert kept.load("main") == [note]

    def test_a_job_does_not_go_on_before_its_note_is_dropped(
        self, recorder: Recorder, loop: Loop, kept: Kept, note: Ended, redis_server: EmbeddedRedis
    ) -> None:
        """A later attempt may bear the same number: a note left behind would be taken for that one's."""
        tries, killed = [], asyncio.Event()

        async def write() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise DatabaseAway("gone")
            redis_server.kill()
            killed.set()

        async def go() -> None:
            going = asyncio.ensure_future(recorder.until_written(write, note))
            await asyncio.wait_for(killed.wait(), 180)
            await asyncio.wait([going], timeout=0.3)
            assert not going.done()
            redis_server.restart()
            await asyncio.wait([going], timeout=180)
            assert going.done()
            await going

        loop.run_until_complete(go())
        assert kept.load("main") == []
