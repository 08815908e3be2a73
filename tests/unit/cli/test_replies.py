"""Replies in words: one line, without what a terminal would obey."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.cli.replies import describe, describe_result


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
