"""A job in words: where it stands, at which step, and without message text."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from worker68.cli.jobs import _step, _without_text, explain
from worker68.store.reports import AttemptLine, JobLine, JobReport

AT = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def report(**columns: Any) -> JobReport:
    """Return a job's report; ``columns`` of the job's line, or of the report itself."""
    whole: dict[str, Any] = {"fields": {}, "step": 0, "done": None, "progress": None}
    whole |= {name: columns.pop(name) for name in list(columns) if name in whole}
    line: dict[str, Any] = dict.fromkeys(JobLine.__struct_fields__) | {
        "seq": 1,
        "job_id": "x",
        "account": "main",
        "task": "worker68.send_message",
        "state": "ready",
        "attempts": 0,
        "received_at": AT,
    }
    job = JobLine(**(line | columns))
    tries = [AttemptLine(1, 0, "worker", 1, AT, None, None)] if job.attempts else []
    return JobReport(
        job=job,
        priority=0,
        lane="lane",
        revision=0,
        custom_msg_id=None,
        result=None,
        requesters=[],
        attempts=tries,
        **whole,
    )


MUTED: dict[str, Any] = {"task": "worker68.mute_group", "fields": {"group_id": 1}}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "ready: it waits for its turn"),
        ({"reason": "bridge not reachable"}, "ready: bridge not reachable"),
        ({"state": "deferred", "due_at": AT}, "deferred until 2026-11-23 12:00:00 UTC"),
        ({"state": "deferred", "due_at": AT, "reason": "busy"}, "deferred until 2026-11-23 12:00:00 UTC: busy"),
        ({"state": "sending", "attempts": 1}, "attempt 1 is under way since 2026-11-23 12:00:00 UTC"),
        (
            {"state": "sending", "attempts": 1, "progress": "read 40 of 90"},
            "attempt 1 is under way since 2026-11-23 12:00:00 UTC: read 40 of 90",
        ),
        (
            {"state": "ended", "status": "cancelled", "finished_at": AT, "reason": "revoked"},
            "ended 2026-11-23 12:00:00 UTC, cancelled: revoked",
        ),
        (
            {
                "state": "ended",
                "status": "in_doubt",
                "finished_at": AT,
                "error_code": "no_verdict",
                "error_message": "silence",
            },
            "ended 2026-11-23 12:00:00 UTC, in doubt: no_verdict: silence",
        ),
    ],
)
def test_where_a_job_stands_in_words(columns: dict[str, Any], told: str) -> None:
    assert explain(report(**columns)) == told


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, None),
        ({"task": "worker68.mute_group", "fields": {"group_id": "wrong"}, "state": "ended"}, None),
        ({"task": "worker68.of_a_newer_version"}, None),
        ({"task": "worker68.mute_group", "fields": {"group_id": 1, "announce": False}}, None),
        (MUTED, "1 of 2, the change"),
        (
            MUTED | {"step": 1, "done": {"muted": True, "announcement": None}},
            "2 of 2, the announcement; done before: muted",
        ),
    ],
    ids=["a send", "invalid", "unknown", "not announced", "the change", "the announcement"],
)
def test_at_which_step_a_job_stands(columns: dict[str, Any], told: str | None) -> None:
    assert _step(report(**columns)) == told


def test_message_text_is_shown_as_its_length() -> None:
    fields = {
        "chat": {"type": "group", "id": 1},
        "text": "secret",
        "quote": {"text": "older secret", "name": "n"},
        "notice": "public secret",
        "announcement_text": None,
    }
    shown = _without_text(fields)
    assert "secret" not in str(shown)
    assert shown["text"] == "(6 characters)"
    assert shown["chat"] == fields["chat"]
    assert shown["announcement_text"] is None
    assert fields["text"] == "secret"
