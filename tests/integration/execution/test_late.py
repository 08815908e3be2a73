"""Evidence that nobody waits for any more: it ends or corrects the job that it belongs to, and never doubles a message."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from worker68.bridge.correlation import LateEvidence
from worker68.execution import late as late_module
from worker68.execution.kept import Kept
from worker68.execution.late import LateDesk
from worker68.jobs.evidence import Verdict
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Status, in_doubt
from worker68.jobs.states import State
from worker68.store import attempts
from worker68.store.writer import Writer


class Desk:
    """A late desk on a real ledger."""

    def __init__(self, ledger: Ledger, late: LateDesk, announced: threading.Event) -> None:
        self.ledger = ledger
        self.late = late
        self.announced = announced

    def hand_in(self, job: Job, verdict: Verdict = Verdict.SENT) -> None:
        self.late.hand_in("main", LateEvidence(str(job.custom_msg_id), verdict, 4711, NOW))

    def ended_as(self, job: Job, status: Status) -> bool:
        row = self.ledger.row(job.seq)
        return (row.state, row.status) == (State.ENDED, status)


@pytest.fixture
def desk(ledger: Ledger, reader: Any) -> Iterator[Desk]:
    writer = Writer(ledger.engine)
    announced = threading.Event()
    late = LateDesk(writer, Kept(reader), announced.set)
    made = Desk(ledger, late, announced)
    writer.start()
    late.start()
    yield made
    late.stop()
    writer.stop()


def test_a_proof_ends_a_send_that_backs_off_so_that_it_is_not_sent_again(ledger: Ledger, desk: Desk) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    later = NOW + dt.timedelta(hours=1)
    assert ledger.run(lambda connection: attempts.back_off(connection, attempt, later, "busy", "busy", NOW))

    desk.hand_in(job)

    wait_until(lambda: desk.ended_as(job, Status.SUCCEEDED))
    assert ledger.begin(job, 2) is None, "there is nothing to try again"
    assert desk.announced.wait(10)
    assert len(ledger.told()) == 1


def test_a_proof_corrects_a_send_that_is_in_doubt(ledger: Ledger, desk: Desk) -> None:
    job = ledger.send()
    assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))

    desk.hand_in(job)

    wait_until(lambda: desk.ended_as(job, Status.SUCCEEDED))
    assert ledger.row(job.seq).revision == 2


def test_a_proof_that_comes_before_the_outcome_is_written_is_offered_again(ledger: Ledger, desk: Desk) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)

    desk.hand_in(job)
    assert ledger.settle(attempt, in_doubt(ErrorCode.CONNECTION_LOST, "?"))

    wait_until(lambda: desk.ended_as(job, Status.SUCCEEDED))


def test_evidence_does_not_wait_for_the_pause_of_another(
    ledger: Ledger, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "PAUSE_SECONDS", 3600.0)
    under_way, judged = ledger.send(job_id="under way"), ledger.send(job_id="judged")
    ledger.must_begin(under_way)
    assert ledger.settle(ledger.must_begin(judged), in_doubt(ErrorCode.NO_VERDICT, "?"))

    for _ in range(20):
        desk.hand_in(under_way)
    desk.hand_in(judged)

    wait_until(lambda: desk.ended_as(judged, Status.SUCCEEDED))


def test_a_note_that_redis_refuses_does_not_end_the_thread(ledger: Ledger, desk: Desk, reader: Any) -> None:
    reader.set("worker68:kept:main", "x")
    first, second = ledger.send(job_id="first"), ledger.send(job_id="second")
    for job in (first, second):
        assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
        desk.late.hand_in("main", LateEvidence(str(job.custom_msg_id), Verdict.SENT, 4711, NOW), kept=True)
    wait_until(lambda: desk.ended_as(second, Status.SUCCEEDED))


def test_a_job_that_was_never_tried_is_not_proven_by_a_number(ledger: Ledger, desk: Desk) -> None:
    waiting, judged = ledger.send(job_id="waiting"), ledger.send(job_id="judged")
    assert ledger.settle(ledger.must_begin(judged), in_doubt(ErrorCode.NO_VERDICT, "?"))

    desk.hand_in(waiting)
    desk.hand_in(judged)

    wait_until(lambda: desk.ended_as(judged, Status.SUCCEEDED))
    assert ledger.row(waiting.seq).state == State.READY
