"""A task as Celery knows it: what its events, and so Flower, tell of a run's end, and what Celery itself would run of it."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from tests.parts.jobs import SEND, send_fields
from tests.parts.onloop import run
from worker68 import celery_tasks, runtime
from worker68.celery_tasks import tell_end
from worker68.execution.slots import StepDone
from worker68.jobs.evidence import BridgeError, Evidence
from worker68.jobs.judge import give_up, judge_request, judge_send, judge_unknown_call
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, expired, succeeded

SECRET = "meet me at nine"


@pytest.mark.parametrize(
    ("conclusion", "event"),
    [
        (None, None),
        (StepDone(), None),
        (TryAgain(ErrorCode.BUSY, "the service is busy", spent=True), "task-retried"),
        (succeeded({}), "task-succeeded"),
        (expired("its time was over"), "task-failed"),
    ],
)
def test_what_is_told_follows_what_the_run_came_to(
    conclusion: Any, event: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conclude(_: int) -> Any:
        return conclusion

    monkeypatch.setattr(runtime, "current", lambda: SimpleNamespace(run=conclude))
    assert run(celery_tasks._run(7, "a")).event == event


def test_a_job_on_a_queue_that_is_not_ours_fails_in_words() -> None:
    app = Celery("worker68", set_as_current=False, broker="memory://")
    celery_tasks.register(app)

    ended = app.tasks[SEND].apply(kwargs=send_fields())

    assert ended.state == "FAILURE"
    assert "send it there" in str(ended.result)


def told(conclusion: Outcome | TryAgain | None) -> tuple[str | None, str]:
    end = tell_end("id-1", conclusion)
    return end.event, repr(end.fields)


@pytest.mark.parametrize("code", [403, 300, "300: " + SECRET, None])
def test_the_bridges_words_are_not_in_it(code: int | str | None) -> None:
    """They may repeat the message: "sensitive word: ..."."""
    seen = Evidence(written=True, replied=True, error=BridgeError(code, f"sensitive word: {SECRET}"))
    for finding in (judge_send(seen, 10_000_000_001, "verdict"), judge_request(seen), judge_unknown_call(seen)):
        last = give_up(finding, 5) if isinstance(finding, TryAgain) else finding
        assert last.error is not None
        assert SECRET in last.error.message, "its producer reads them"
        for conclusion in (finding, last):
            event, fields = told(conclusion)
            assert event in ("task-failed", "task-retried")
            assert SECRET not in fields
            assert ("busy" if code == 300 else "refused") in fields
            assert str(code) in fields or not isinstance(code, int)


def test_what_else_is_told() -> None:
    assert told(None) == (None, "{}")
    assert told(succeeded({"data": SECRET})) == ("task-succeeded", repr({"result": "{'status': 'succeeded'}"}))
    assert "expired" in told(expired(SECRET))[1]
    assert SECRET not in told(expired(SECRET))[1]
