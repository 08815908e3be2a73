"""The demo's lines, table and sums: ordinary jobs that went well are one row, and every other job says how it ended."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from worker68.cli.demo.jobs import MUTE, SEND, DemoJob
from worker68.cli.demo.producer import Ending
from worker68.cli.demo.show import count_statuses, print_ending, print_endings
from worker68.jobs.outcome import Status

MESSAGE = {"custom_msg_id": "1", "message_id": 47, "sent_at": None}


def ending(job: DemoJob, waited: float = 0.5, **reply: Any) -> Ending:
    usual = {"status": "succeeded", "result": None, "error": None, "attempts": 1}
    return Ending(job, usual | reply, waited)


def sent(number: int, waited: float) -> Ending:
    return ending(DemoJob(SEND, {"text": f"message {number}"}), waited, result=MESSAGE | {"message_id": number})


def printed(show: Callable[[Console], None]) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    show(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def rows(*endings: Ending) -> list[str]:
    """Return the rows of the table, their columns one space apart."""
    head, *rows = printed(lambda console: print_endings(console, endings))
    assert head.split() == ["job", "status", "waited", "verdict", "reply"]
    return [" ".join(row.split()) for row in rows]


def test_a_line_for_each_job_as_it_ends() -> None:
    job = DemoJob(SEND, {"chat": {"type": "group", "id": 5}}, "to\x1b[31m a group")
    (line,) = printed(lambda console: print_ending(console, ending(job, 12.34, status="in_doubt")))
    assert line == "   12.3 s  in_doubt   to\ufffd[31m a group"


def test_ordinary_jobs_that_went_well_are_one_row_for_each_kind() -> None:
    muted = ending(DemoJob(MUTE, {"group_id": 5}), 0.7, result={"seconds": 60})
    assert rows(sent(1, 0.8), muted, sent(2, 0.2), sent(3, 0.4)) == [
        "3 x send_message succeeded 0.2-0.8 s 1 sent the last one: message 3",
        "1 x mute_member succeeded 0.7 s - seconds 60",
    ]


def test_what_went_wrong_or_has_a_title_has_a_row_of_its_own() -> None:
    job = DemoJob(SEND, {"chat": {"type": "group", "id": 5}})
    wrong = ending(job, status="failed", error={"code": "busy", "message": "later"})
    titled = ending(DemoJob(SEND, {}, "expired an hour ago", Status.EXPIRED), status="expired", attempts=0)
    assert rows(wrong, sent(1, 0.2), titled) == [
        "1 x send_message succeeded 0.2 s 1 sent message 1",
        "send_message to group 5 failed 0.5 s - busy: later",
        "expired an hour ago expired 0.5 s - 0 attempts",
    ]


@pytest.mark.parametrize(
    ("task", "reply", "verdict"),
    [
        (SEND, {"result": MESSAGE}, "1 sent"),
        ("worker68.mute_group", {"result": {"muted": True, "announcement": MESSAGE}}, "1 sent"),
        ("worker68.mute_group", {"result": {"muted": False, "announcement": None}}, "-"),
        (SEND, {"error": {"code": "not_sent", "message": "no"}}, "0 not sent"),
        (SEND, {"error": {"code": "refused", "message": "no"}}, "none"),
        (SEND, {"error": {"code": "no_verdict", "message": "no"}}, "none"),
        (SEND, {"error": {"code": "invalid_job", "message": "no"}}, "-"),
        (MUTE, {"error": {"code": "refused", "message": "no"}}, "-"),
    ],
)
def test_the_bridges_verdict_on_a_message(task: str, reply: dict[str, Any], verdict: str) -> None:
    (row,) = rows(ending(DemoJob(task, {}, "title"), **reply))
    assert row.startswith(f"title succeeded 0.5 s {verdict} ")


def test_the_statuses_are_counted_the_most_frequent_first() -> None:
    job = DemoJob(SEND, {})
    statuses = ("failed", "succeeded", "in_doubt", "succeeded", "succeeded", "failed")
    assert count_statuses(ending(job, status=status) for status in statuses) == "3 succeeded, 2 failed, 1 in doubt"
