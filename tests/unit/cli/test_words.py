"""What people read: replies and rows in one line, without what a terminal would obey, without message text."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from click.testing import CliRunner

from worker68.cli.jobs import _step, _without_text, explain
from worker68.cli.output import print_table, printable, show_time
from worker68.cli.replies import describe, describe_result
from worker68.client import JobFailed
from worker68.store.reports import AttemptLine, JobLine, JobReport

AT = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def reply(**fields: Any) -> dict[str, Any]:
    usual = {
        "status": "succeeded",
        "result": None,
        "error": None,
        "attempts": 1,
        "received_at": "2026-11-23T12:00:00Z",
        "finished_at": "2026-11-23T12:00:01.500000Z",
    }
    return usual | fields


def test_the_exception_that_a_producer_gets_says_why() -> None:
    cancelled = reply(job_id="j", status="cancelled", reason="called off")
    assert str(JobFailed(json.dumps(cancelled))) == "job j cancelled: called off"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            reply(result={"custom_msg_id": "1", "message_id": 47, "sent_at": "2026-11-23T12:00:01Z"}),
            "succeeded: message 47 at 2026-11-23 12:00:01 UTC (1 attempt, 1.5 s)",
        ),
        (
            reply(result={"custom_msg_id": "1", "message_id": None, "sent_at": None}),
            "succeeded: sent (1 attempt, 1.5 s)",
        ),
        (reply(result={"snapshot_id": 3, "count": 2}), "succeeded: snapshot id 3, count 2 (1 attempt, 1.5 s)"),
        (
            reply(status="failed", error={"code": "busy", "bridge_code": 300, "message": "later"}, attempts=8),
            "failed: busy 300: later (8 attempts, 1.5 s)",
        ),
        (
            reply(status="in_doubt", error={"code": "no_verdict", "message": "who knows"}),
            "in doubt: no_verdict: who knows (1 attempt, 1.5 s)",
        ),
        (
            reply(
                status="failed",
                error={"code": "not_sent", "message": "no"},
                result={"muted": True, "announcement": None},
                attempts=2,
            ),
            "failed: not_sent: no; done before: muted (2 attempts, 1.5 s)",
        ),
        (reply(status="expired", attempts=0), "expired (0 attempts, 1.5 s)"),
        (reply(status="expired", attempts=0, reason="too late"), "expired: too late (0 attempts, 1.5 s)"),
        (
            reply(status="cancelled", reason="called off", result={"muted": True, "announcement": None}),
            "cancelled: called off; done before: muted (1 attempt, 1.5 s)",
        ),
        (
            reply(status="failed", error={"code": "refused", "message": "\x1b[31mno\nreally"}),
            "failed: refused: �[31mno really (1 attempt, 1.5 s)",
        ),
    ],
)
def test_a_reply_in_words(given: dict[str, Any], told: str) -> None:
    assert describe(given) == told


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"seconds": 0}, "seconds 0"),
        (
            {"notice_id": 7, "announcement": {"custom_msg_id": "1", "message_id": 47, "sent_at": None}},
            "notice id 7, announcement: message 47",
        ),
        ({"muted": False, "announcement": None}, "not muted"),
        ({"online": [1, 2], "offline": [], "checked": 2}, "2 online, 0 offline, checked 2"),
        (
            {"snapshot_id": 3, "count": 2, "complete": False, "note": "incomplete: why"},
            "snapshot id 3, count 2, not complete, note incomplete: why",
        ),
        ({"snapshot_id": 3, "applied": False, "note": "n" * 100}, f"snapshot id 3, not applied, note {'n' * 100}"),
        (
            {"contact": {"user_id": 7, "name": "n", "icon": "http://x", "friend": True, "online": False}},
            "user id 7, name n, friend, not online",
        ),
        ({"group": {"group_id": 7, "notice": "x" * 61}}, f"group id 7, notice {'x' * 60}…"),
        ({"api_url": "https://x"}, "api url https://x"),
        ({"restarted_in": 2.345}, "restarted in 2.3 s"),
        ({"data": [1, None]}, "data [1,null]"),
        ({"data": "x" * 500}, f'data "{"x" * 199}…'),
    ],
    ids=str,
)
def test_a_result_in_words_is_short(result: dict[str, Any], told: str) -> None:
    assert describe_result(result) == told


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


MUTED: dict[str, Any] = {"task": "worker68.mute_group", "fields": {"group_id": 1}}


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


def test_a_time_is_shown_in_utc() -> None:
    assert show_time(AT.astimezone(dt.timezone(dt.timedelta(hours=8)))) == "2026-11-23 12:00:00"
    assert show_time(None) is None


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert printable("a\x1b]0;title\x07b\tc\u202e 会话") == "a�]0;title�b c� 会话"


def test_a_table_in_a_pipe_has_a_line_for_each_row() -> None:
    runner = CliRunner()
    with runner.isolation() as (out, *_):
        print_table(("job", "why"), [("x" * 36, "y" * 300), (None, "[bold]z")])
        lines = out.getvalue().decode().splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["x" * 36, "y" * 300]
    assert lines[2].split() == ["-", "[bold]z"]
