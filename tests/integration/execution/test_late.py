"""Evidence that nobody waits for any more: it ends or corrects the job that it belongs to, and never doubles a message."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.onloop import serve, stop_service
from tests.parts.worker import wait_until
from worker68.bridge.correlation import LateEvidence
from worker68.errors import DatabaseAway
from worker68.execution import late as late_module
from worker68.execution.late import LateOffers
from worker68.execution.recorder import Kept
from worker68.jobs.evidence import Verdict
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Status, failed, in_doubt
from worker68.jobs.states import State
from worker68.loop import LoopThread
from worker68.store.statements import attempts
from worker68.store.writer import Writer


class Scene:
    """Late evidence on a real ledger."""

    def __init__(self, ledger: Ledger, late: LateOffers, announced: threading.Event) -> None:
        self.ledger = ledger
        self.late = late
        self.announced = announced
        self.numbers = itertools.count()

    def hand_in(self, job: Job, verdict: Verdict = Verdict.SENT) -> None:
        self.late.hand_in("main", LateEvidence(str(job.custom_msg_id), verdict, 4711, NOW))

    def deny(self, job: Job, attempt: int) -> None:
        """Say that this attempt was not sent, and wait until that was applied."""
        self.late.hand_in("main", LateEvidence(str(job.custom_msg_id), Verdict.NOT_SENT, None, None, attempt))
        marker = self.ledger.send(job_id=f"after-{job.seq}-{next(self.numbers)}")
        assert self.ledger.settle(self.ledger.must_begin(marker), in_doubt(ErrorCode.NO_VERDICT, "?"))
        self.hand_in(marker)
        wait_until(lambda: self.ended_as(marker, Status.SUCCEEDED))

    def ended_as(self, job: Job, status: Status) -> bool:
        row = self.ledger.row(job.seq)
        return (row.state, row.status) == (State.ENDED, status)


@pytest.fixture
def scene(ledger: Ledger, reader: Any, loop_thread: LoopThread) -> Iterator[Scene]:
    writer = Writer(ledger.engine)
    announced = threading.Event()
    late = LateOffers(writer, Kept(reader), announced.set, loop_thread.loop)
    made = Scene(ledger, late, announced)
    writer.start()
    serve(loop_thread, late)
    yield made
    stop_service(loop_thread, late)
    writer.stop()


def test_a_proof_ends_a_send_that_backs_off_so_that_it_is_not_sent_again(ledger: Ledger, scene: Scene) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    later = NOW + dt.timedelta(hours=1)
    assert ledger.run(lambda connection: attempts.back_off(connection, attempt, later, "busy", "busy", NOW))

    scene.hand_in(job)

    wait_until(lambda: scene.ended_as(job, Status.SUCCEEDED))
    assert ledger.begin(job, 2) is None, "there is nothing to try again"
    assert scene.announced.wait(60)
    assert len(ledger.told()) == 1


def test_a_proof_corrects_a_send_that_is_in_doubt(ledger: Ledger, scene: Scene) -> None:
    job = ledger.send()
    assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))

    scene.hand_in(job)

    wait_until(lambda: scene.ended_as(job, Status.SUCCEEDED))
    assert ledger.row(job.seq).revision == 2


def test_a_proof_that_comes_before_the_outcome_is_written_is_offered_again(ledger: Ledger, scene: Scene) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)

    scene.hand_in(job)
    assert ledger.settle(attempt, in_doubt(ErrorCode.CONNECTION_LOST, "?"))

    wait_until(lambda: scene.ended_as(job, Status.SUCCEEDED))


def test_evidence_does_not_wait_for_the_pause_of_another(
    ledger: Ledger, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "PAUSE_SECONDS", 3600.0)
    under_way, judged = ledger.send(job_id="under way"), ledger.send(job_id="judged")
    ledger.must_begin(under_way)
    assert ledger.settle(ledger.must_begin(judged), in_doubt(ErrorCode.NO_VERDICT, "?"))

    for _ in range(20):
        scene.hand_in(under_way)
    scene.hand_in(judged)

    wait_until(lambda: scene.ended_as(judged, Status.SUCCEEDED))


def test_while_the_database_is_away_evidence_is_kept_and_the_service_can_end(
    ledger: Ledger, reader: Any, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something is always due."""
    monkeypatch.setattr(late_module, "PAUSE_SECONDS", 0.0)
    jobs = [ledger.send(job_id=str(number)) for number in range(3)]
    asked = threading.Event()

    class Away(Writer):
        def hand_in(self, *_: Any, **__: Any) -> None:
            asked.set()
            raise DatabaseAway("it is away")

    late = LateOffers(Away(ledger.engine), Kept(reader), lambda: None, loop_thread.loop)
    scene = Scene(ledger, late, threading.Event())
    serve(loop_thread, late)
    for job in jobs[:2]:
        scene.hand_in(job)
    assert asked.wait(60)
    fields = [f"seen:{job.custom_msg_id}" for job in jobs]
    wait_until(lambda: all(reader.hexists("worker68:kept:main", field) for field in fields[:2]))
    scene.hand_in(jobs[2])

    stop_service(loop_thread, late)

    assert all(reader.hexists("worker68:kept:main", field) for field in fields)


def test_many_that_come_together_are_all_applied(ledger: Ledger, scene: Scene) -> None:
    jobs = [ledger.send(job_id=str(number)) for number in range(2 * late_module.BATCH + 1)]
    for job in jobs:
        assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))

    for job in jobs:
        scene.hand_in(job)

    wait_until(lambda: all(scene.ended_as(job, Status.SUCCEEDED) for job in jobs))


def test_evidence_that_was_kept_is_dropped_once_its_job_has_it(
    ledger: Ledger, scene: Scene, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.send()
    assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
    hand_in, away = Writer.hand_in, threading.Event()

    def fail_once(writer: Writer, *what: Any, **how: Any) -> None:
        if not away.is_set():
            away.set()
            raise DatabaseAway("once")
        hand_in(writer, *what, **how)

    monkeypatch.setattr(Writer, "hand_in", fail_once)
    scene.hand_in(job)

    wait_until(lambda: scene.ended_as(job, Status.SUCCEEDED))
    wait_until(lambda: away.is_set() and not reader.exists("worker68:kept:main"))


def test_a_note_that_redis_refuses_does_not_end_the_service(ledger: Ledger, scene: Scene, reader: Any) -> None:
    reader.set("worker68:kept:main", "x")
    first, second = ledger.send(job_id="first"), ledger.send(job_id="second")
    for job in (first, second):
        assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
        scene.late.hand_in("main", LateEvidence(str(job.custom_msg_id), Verdict.SENT, 4711, NOW), kept=True)
    wait_until(lambda: scene.ended_as(second, Status.SUCCEEDED))


def test_a_job_that_was_never_tried_is_not_proven_by_a_number(ledger: Ledger, scene: Scene) -> None:
    waiting, judged = ledger.send(job_id="waiting"), ledger.send(job_id="judged")
    assert ledger.settle(ledger.must_begin(judged), in_doubt(ErrorCode.NO_VERDICT, "?"))

    scene.hand_in(waiting)
    scene.hand_in(judged)

    wait_until(lambda: scene.ended_as(judged, Status.SUCCEEDED))
    assert ledger.row(waiting.seq).state == State.READY


@pytest.mark.parametrize("code", [ErrorCode.NO_VERDICT, ErrorCode.CONNECTION_LOST, ErrorCode.WORKER_LOST])
def test_a_not_sent_corrects_the_attempt_that_it_is_about(ledger: Ledger, scene: Scene, code: ErrorCode) -> None:
    job = ledger.send()
    assert ledger.settle(ledger.must_begin(job), in_doubt(code, "?"))

    scene.deny(job, attempt=1)

    row = ledger.row(job.seq)
    assert (row.status, row.error_code, row.revision) == (Status.FAILED, ErrorCode.NOT_SENT, 2)
    scene.hand_in(job)
    wait_until(lambda: scene.ended_as(job, Status.SUCCEEDED))
    assert ledger.row(job.seq).revision == 3, "a sent counts for more"


def test_a_not_sent_says_nothing_about_another_attempt(ledger: Ledger, scene: Scene) -> None:
    """The second one may have been sent: to call it not sent would have its producer send it twice."""
    job = ledger.send()
    first = ledger.must_begin(job)
    assert ledger.run(lambda connection: attempts.back_off(connection, first, NOW, "busy", "busy", NOW))
    scene.deny(job, attempt=1)
    assert ledger.row(job.seq).state == State.DEFERRED, "it backs off as before"
    second = ledger.must_begin(job, 2)
    assert ledger.settle(second, in_doubt(ErrorCode.NO_VERDICT, "?"))

    scene.deny(job, attempt=1)

    assert ledger.row(job.seq).status == Status.IN_DOUBT


def test_a_not_sent_changes_nothing_that_is_known(ledger: Ledger, scene: Scene) -> None:
    sent, refused = ledger.send(job_id="sent"), ledger.send(job_id="refused")
    assert ledger.settle(ledger.must_begin(sent))
    assert ledger.settle(ledger.must_begin(refused), failed(ErrorCode.REFUSED, "no"))

    scene.deny(sent, attempt=1)
    scene.late.hand_in("main", LateEvidence(str(refused.custom_msg_id), Verdict.NOT_SENT, None, None, 1))

    assert ledger.row(sent.seq).status == Status.SUCCEEDED
    assert ledger.row(refused.seq).error_code == ErrorCode.REFUSED


def test_evidence_is_kept_also_while_a_database_neither_answers_nor_fails(
    ledger: Ledger, reader: Any, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "WRITE_SECONDS", 0.05)
    job = ledger.send()
    assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
    writer, kept = Writer(ledger.engine), Kept(reader)
    late = LateOffers(writer, kept, lambda: None, loop_thread.loop)
    serve(loop_thread, late)
    late.hand_in("main", LateEvidence(str(job.custom_msg_id), Verdict.SENT, 4711, NOW))
    wait_until(lambda: len(kept.load("main")) == 1)

    monkeypatch.setattr(late_module, "WRITE_SECONDS", 60.0)
    writer.start()
    wait_until(lambda: ledger.row(job.seq).status == Status.SUCCEEDED)
    wait_until(lambda: kept.load("main") == [])
    stop_service(loop_thread, late)
    writer.stop()
    assert ledger.row(job.seq).revision == 2, "each write is made, and only one changes anything"
