"""The outcome of a job of two steps."""

from __future__ import annotations

from worker68.jobs.outcome import ErrorCode, Status, in_doubt, succeeded, whole_outcome


def test_the_outcome_of_an_announcement_says_what_was_done_before_it() -> None:
    done = {"muted": True, "announcement": None}
    sent = {"custom_msg_id": "1"}
    assert whole_outcome(succeeded(sent), done).result == {"muted": True, "announcement": sent}
    lost = whole_outcome(in_doubt(ErrorCode.NO_VERDICT, "?"), done)
    assert (lost.status, lost.result) == (Status.IN_DOUBT, done)
    assert whole_outcome(succeeded(sent), None).result == sent
