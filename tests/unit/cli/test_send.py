"""What ``worker68 send``, ``mute``, ``notice`` and ``restart-client`` ask for, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Asked, Run, check_refused

GROUP, USER = ("--group", "1"), ("--user", "2")
CHAT = {"type": "group", "id": 1}


@pytest.mark.parametrize(
    ("words", "task", "fields"),
    [
        (("send", *GROUP, "x"), "send_message", {"chat": CHAT, "text": "x"}),
        (("send", "--friend", "2", "--", "-x"), "send_message", {"chat": {"type": "friend", "id": 2}, "text": "-x"}),
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
        (("restart-client",), "restart_client", {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_become_a_job(run: Run, asked: Asked, words: tuple[str, ...], task: str, fields: dict[str, Any]) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert [job[:2] for job in asked] == [(task, fields)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("send", "hello"), "give either --group ID or --friend ID"),
        (("send", "--group", "1", "--friend", "2", "hello"), "give either"),
        (("send", "--group", "0", "hello"), "0 is not in the range"),
        (("send", "--group", str(2**63), "hello"), "not in the range"),
        (("send", "--group", "x", "hello"), "'x' is not a valid integer"),
        (("send", "--group", "1", ""), "text: "),
        (("send", "--group", "1", "x" * 20_001), "text: "),
        (("send", "--group", "1"), "give either TEXT or --file PATH"),
        (("send", "--group", "1", "hello", "--file", "C:/x"), "give either TEXT or --file PATH"),
        (("send", "--group", "1", "--file", ""), "path: "),
        (("mute", "--group", "1"), "give one of: --user ID with --seconds N, --all, --off"),
        (("mute", "--group", "1", "--all", "--off"), "give one of"),
        (("mute", "--group", "1", "--all", "--user", "2", "--seconds", "3"), "give one of"),
        (("mute", "--all"), "Missing option '--group'"),
        (("mute", "--group", "1", "--user", "2"), "belong together"),
        (("mute", "--group", "1", "--seconds", "2"), "belong together"),
        (("mute", "--group", "1", "--user", "2", "--seconds", "-1"), "-1 is not in the range"),
        (
            ("mute", "--group", "1", "--user", "2", "--seconds", "3", "--no-announce"),
            "only --all and --off are announced",
        ),
        (
            ("mute", "--group", "1", "--user", "2", "--seconds", "3", "--text", "x"),
            "only --all and --off are announced",
        ),
        (("mute", "--group", "1", "--all", "--no-announce", "--text", "x"), "does not go with --no-announce"),
        (("mute", "--group", "1", "--all", "--text", ""), "announcement_text: "),
        (("notice", "hello"), "Missing option '--group'"),
        (("notice", "--group", "1"), "Missing argument 'TEXT'"),
        (("notice", "--group", "1", ""), "notice: "),
        (("restart-client", "main"), "unexpected extra argument"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, words: tuple[str, ...], told: str) -> None:
    check_refused(run(*words, REDIS_URL="redis://127.0.0.1:1/0"), told)
