"""What ``worker68 sync``, ``api-url`` and ``request`` ask for, how long they wait, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Asked, Run, check_refused
from worker68.cli.sync import READS
from worker68.tasks import TASKS

GROUP, USER = ("--group", "1"), ("--user", "2")


@pytest.mark.parametrize(
    ("words", "task", "fields"),
    [
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
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_become_a_job(run: Run, asked: Asked, words: tuple[str, ...], task: str, fields: dict[str, Any]) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert [job[:2] for job in asked] == [(task, fields)]


def test_everything_that_can_be_synced_has_a_word() -> None:
    assert {read.name for read in READS.values()} == {task for task in TASKS if task.startswith("worker68.sync_")}


def test_a_wait_is_longer_where_the_work_is(run: Run, asked: Asked) -> None:
    for words in (("profile",), ("members", *GROUP), ("online", *GROUP), ("online", *GROUP, "--timeout", "5")):
        run("sync", *words)
    assert [seconds for _, _, seconds in asked] == [120, 600, 3600, 5]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sync",), "Missing argument 'WHAT'"),
        (("sync", "everything"), "'everything' is not one of 'contact', 'contacts'"),
        (("sync", "members"), "members needs --group ID"),
        (("sync", "group"), "group needs --group ID"),
        (("sync", "online", "--user", "1"), "online needs --group ID"),
        (("sync", "contact"), "contact needs --user ID"),
        (("sync", "contact", "--user", "1", "--user", "2"), "contact needs --user ID, once"),
        (("sync", "groups", "--group", "1", "--user", "2"), "groups takes no --group; groups takes no --user"),
        (("request", "UserInfo"), "Missing argument 'PATH'"),
        (("request", "UserInfo", "/user/userInfo", "--data", "{"), "--data: expected a JSON object"),
        (("request", "UserInfo", "/user/userInfo", "--data", "[1]"), "--data: expected a JSON object"),
        (("request", "", "/user/userInfo"), "type: "),
    ],
)
def test_wrong_arguments_are_refused(run: Run, words: tuple[str, ...], told: str) -> None:
    check_refused(run(*words, REDIS_URL="redis://127.0.0.1:1/0"), told)
