"""``worker68 snapshots``: in words and in JSON, long lists cut, failures in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from tests.integration.cli.conftest import Run
from tests.parts.ledger import Ledger
from tests.parts.lists import GROUP, Lists, contact, contacts, group_request, member
from worker68.jobs.snapshot import GROUP_MEMBERS, GROUP_REQUESTS
from worker68.store.migration import upgrade


@pytest.fixture
def lists(sqlite_url: str) -> Iterator[Lists]:
    upgrade(sqlite_url)
    ledger = Ledger(sqlite_url)
    yield Lists(ledger)
    ledger.engine.dispose()


class Ask:
    def __init__(self, run: Run, url: str) -> None:
        self._run = run
        self._url = url

    def __call__(self, *words: object) -> Result:
        return self._run("snapshots", *map(str, words), DATABASE_URL=self._url)

    def lines(self, *words: object) -> list[str]:
        done = self(*words)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def json(self, *words: object) -> Any:
        (line,) = self.lines(*words, "--json")
        return json.loads(line)

    def refusal(self, code: int, *words: object) -> str:
        done = self(*words)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        return done.stderr


@pytest.fixture
def ask(run: Run, lists: Lists, sqlite_url: str) -> Ask:
    return Ask(run, sqlite_url)


def test_the_list(lists: Lists, ask: Ask) -> None:
    assert ask.lines("list") == ["no such snapshots"]
    lists.see(contacts(1, 2))
    lists.see([member(1)], GROUP_MEMBERS, group=GROUP, announced=7)
    head, second, first = ask.lines("list")
    assert head.split() == ["id", "account", "list", "taken", "(UTC)", "count", "added", "removed", "changed", "note"]
    assert second.startswith("2   main     group_members of 389284  2026-11-23 12:00:00  1 ")
    assert second.rstrip().endswith(
        "incomplete: the service announced 7 entries, and 1 were read; nothing was marked as removed"
    )
    assert first.split() == ["1", "main", "contacts", "2026-11-23", "12:00:00", "2", "2", "0", "0", "-"]
    assert len(ask.lines("list", "--kind", "contacts", "--account", "main", "--limit", 1)) == 2
    listed = ask.json("list", "--group", GROUP)
    assert [(one["id"], one["taken_at"], one["complete"]) for one in listed] == [(2, "2026-11-23T12:00:00Z", False)]


def test_a_snapshot_is_shown_with_its_changes(lists: Lists, ask: Ask) -> None:
    lists.see([contact(1, "a\x1b[31m"), contact(2)])
    lists.see([contact(1, "b", icon="http://x"), contact(3, "new")])
    lines = ask.lines("show", 2)
    assert "changes:       1 added, 1 removed, 1 changed" in lines
    assert [line.strip().split(maxsplit=2) for line in lines[-4:]] == [
        ["id", "change", "what"],
        ["1", "changed", 'name "a\\u001b[31m" -> "b", icon null -> "http://x"'],
        ["2", "removed", 'name "小鱼儿", handle "h2", friend true'],
        ["3", "added", 'name "new", handle "h3", friend true'],
    ]
    shown = ask.json("show", 2)
    assert (shown["count"], [change["change"] for change in shown["changes"]]) == (2, ["changed", "removed", "added"])


def test_requests_are_shown_with_their_groups(lists: Lists, ask: Ask) -> None:
    lists.see([group_request(1, 10), group_request(1, 0)], GROUP_REQUESTS)
    assert [line.split()[:3] for line in ask.lines("show", 1)[-3:]] == [
        ["id", "group", "change"],
        ["1", "-", "added"],
        ["1", "10", "added"],
    ]


@pytest.mark.parametrize("command", ["show", "diff"])
def test_a_long_list_is_cut_and_says_so(lists: Lists, ask: Ask, command: str) -> None:
    lists.see(contacts(*range(60)))
    assert ask.lines(command, 1)[-1] == "10 more: --limit 60 shows all, --json all for a program"
    assert ask.lines(command, 1, "--limit", 59)[-1].startswith("1 more")
    assert ask.lines(command, 1, "--limit", 60)[-1].startswith("59 ")
    shown = ask.json(command, 1)
    assert len(shown["changes"]) == 60


def test_the_difference(lists: Lists, ask: Ask) -> None:
    for rows in (contacts(1, 2, 3), contacts(1, 2), [*contacts(1, 3), contact(2, "b")]):
        lists.see(rows)
    assert [line.split(maxsplit=2)[:2] for line in ask.lines("diff", 2)[1:]] == [["3", "removed"]]
    assert ask.lines("diff", 1, 3)[1:] == ['2   changed  name "小鱼儿" -> "b"']
    assert ask.lines("diff", 1, 1) == ["no difference"]
    shown = ask.json("diff", 1, 3)
    assert [one["id"] for one in shown["snapshots"]] == [1, 3]
    assert [change["subject"] for change in shown["changes"]] == [2]


def test_a_shrink_says_so_and_is_accepted(lists: Lists, ask: Ask) -> None:
    lists.see(contacts(*range(9)))
    lists.see(contacts(1))
    assert ask.lines("diff", 2)[0].startswith("snapshot 2: not applied: 8 of 9 entries would be gone")
    assert "applied:       no" in ask.lines("show", 2)
    assert ask.lines("accept", 2) == ["accepted snapshot 2: 8 rows are marked as removed; sync again for the rest"]
    assert lists.present() == [1]
    assert "already" in ask.refusal(1, "accept", 2)


def test_failures_are_one_line(lists: Lists, ask: Ask) -> None:
    lists.see(contacts(1))
    lists.see(contacts(1), account="other")
    lists.see(contacts(1))
    assert ask.refusal(1, "show", 9) == "worker68: no snapshot 9: see `worker68 snapshots list`\n"
    assert "not of the same list" in ask.refusal(1, "diff", 1, 2)
    assert "older snapshot first: 1 3" in ask.refusal(1, "diff", 3, 1)
    assert "was applied" in ask.refusal(1, "accept", 1)
    assert "--help" in ask.refusal(2, "show", "x")
    assert "--help" in ask.refusal(2, "list", "--kind", "pets")
    assert "--help" in ask.refusal(2, "show")
