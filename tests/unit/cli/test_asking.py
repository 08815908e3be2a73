"""Which job a command line asks for: its task, and fields that the worker takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from worker68.cli import asking
from worker68.cli.sync import READS
from worker68.tasks import TASKS

GROUP, USER = ("--group", "1"), ("--user", "2")
CHAT = {"type": "group", "id": 1}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], float]]:
    """What was asked for, with the seconds that a --wait would take; checked as before every job, and not put in."""
    jobs: list[tuple[str, dict[str, Any], float]] = []

    def note(task: str, own: dict[str, Any], *, timeout: float, **options: Any) -> int:
        asking._check(task, own, {"account": options["account"]})
        jobs.append((task.removeprefix("worker68."), own, timeout))
        return 0

    for module in ("send", "sync"):
        monkeypatch.setattr(f"worker68.cli.{module}.ask_for", note)
    return jobs


@pytest.mark.parametrize(
    ("words", "task", "fields"),
    [
        (("send", *GROUP, "x"), "send_message", {"chat": CHAT, "text": "x"}),
        (("send", *GROUP, "--file", "C:/x"), "send_file", {"chat": CHAT, "path": "C:/x"}),
        (("mute", *GROUP, *USER, "--seconds", "0"), "mute_member", {"group_id": 1, "user_id": 2, "seconds": 0}),
        (("mute", *GROUP, "--all"), "mute_group", {"group_id": 1, "muted": True, "announce": True}),
        (("mute", *GROUP, "--off", "--no-announce"), "mute_group", {"group_id": 1, "muted": False, "announce": False}),
        (
            ("mute", *GROUP, "--off", "--announce", "--text", "x"),
            "mute_group",
            {"group_id": 1, "muted": False, "announce": True, "announcement_text": "x"},
        ),
        (("notice", *GROUP, "a\nb"), "set_group_notice", {"group_id": 1, "notice": "a\nb", "announce": True}),
        (
            ("notice", *GROUP, "x", "--no-announce"),
            "set_group_notice",
            {"group_id": 1, "notice": "x", "announce": False},
        ),
        (("sync", "profile"), "sync_profile", {}),
        (("sync", "contact", *USER), "sync_contact", {"user_id": 2}),
        (("sync", "members", *GROUP), "sync_group_members", {"group_id": 1}),
        (("sync", "--group", "1", "group"), "sync_group", {"group_id": 1}),
        (("sync", "online", *GROUP), "sync_online_status", {"group_id": 1}),
        (("sync", "online", *GROUP, *USER, "--user", "3"), "sync_online_status", {"group_id": 1, "user_ids": (2, 3)}),
        (("api-url",), "get_api_url", {}),
        (("request", "T", "/p"), "request", {"type": "T", "path": "/p"}),
        (
            ("request", "T", "/p", "--data", '{"a": [1]}', "--proto-type", "group"),
            "request",
            {"type": "T", "path": "/p", "data": {"a": [1]}, "proto_type": "group"},
        ),
        (("restart-client",), "restart_client", {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_become_a_job(
    run: Run, asked: list[Any], words: tuple[str, ...], task: str, fields: dict[str, Any]
) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert [job[:2] for job in asked] == [(task, fields)]


def test_everything_that_can_be_synced_has_a_word() -> None:
    assert {read.name for read in READS.values()} == {task for task in TASKS if task.startswith("worker68.sync_")}


def test_a_wait_is_longer_where_the_work_is(run: Run, asked: list[Any]) -> None:
    for words in (("profile",), ("members", *GROUP), ("online", *GROUP), ("online", *GROUP, "--timeout", "5")):
        run("sync", *words)
    assert [seconds for _, _, seconds in asked] == [120, 600, 3600, 5]
