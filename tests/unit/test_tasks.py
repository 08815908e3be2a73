"""A task as Celery knows it: what is told of a run's end, and what Celery itself would run of it."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from tests.parts.jobs import SEND, send_fields
from tests.parts.onloop import run
from worker68 import runtime, tasks
from worker68.execution.slots import StepDone
from worker68.jobs.outcome import ErrorCode, TryAgain, expired, succeeded


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
    assert run(tasks._run(7, "a")).event == event


def test_a_job_on_a_queue_that_is_not_ours_fails_in_words() -> None:
    app = Celery("worker68", set_as_current=False, broker="memory://")
    tasks.register(app)

    ended = app.tasks[SEND].apply(kwargs=send_fields())

    assert ended.state == "FAILURE"
    assert "send it there" in str(ended.result)
