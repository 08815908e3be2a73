"""The accounts of settings and database together: which hold, and which came, changed and went."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.parts.environment import Environment
from tests.parts.jobs import NOW
from worker68.fleet.accounts import HIDDEN, Change, Known, compare, known_from_settings, learn
from worker68.fleet.leases import FRONT
from worker68.limits.rates import Rate
from worker68.settings import Settings
from worker68.store.accounts import AccountRow


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    env = Environment(monkeypatch, tmp_path)
    return env.load(BRIDGE_URL="ws://h:1", LIMITS=json.dumps({"send": "7/m"}))


def row(name: str, version: int, **settings: Any) -> AccountRow:
    return AccountRow(name, version, settings, NOW, "ann")


def gone(name: str, version: int) -> AccountRow:
    return AccountRow(name, version, {}, NOW, "ann", removed_at=NOW)


class Learner:
    """Reads rows, and remembers what is known."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.known: Known = known_from_settings(settings)

    def read(self, *rows: AccountRow) -> Change:
        before = self.known
        self.known = learn(self.settings, before, rows, max(row.version for row in rows))
        return compare(before, self.known)

    @property
    def bridges(self) -> dict[str, str]:
        return {name: one.bridge_url for name, one in self.known.accounts.items()}


@pytest.fixture
def learner(settings: Settings) -> Learner:
    return Learner(settings)


def test_accounts_come_change_and_go(learner: Learner) -> None:
    assert learner.read(row("a", 1, bridge_url="ws://h:2"), row("b", 2, bridge_url="ws://h:3")).came == ("a", "b")
    assert learner.read(row("a", 3, bridge_url="ws://h:4")) == Change(changed=("a",))
    assert learner.read(gone("b", 4)) == Change(went=("b",))
    assert learner.bridges == {"main": "ws://h:1", "a": "ws://h:4"}
    assert learner.known.newest == 4
    assert learner.read(row("b", 5, bridge_url="ws://h:3")).came == ("b",)


def test_a_row_has_the_general_settings_beneath_it(learner: Learner) -> None:
    learner.read(row("a", 1, bridge_url="ws://h:2", limits={"chat": "3/m"}, max_in_flight=2))
    account = learner.known.accounts["a"]
    assert (account.max_in_flight, account.limits.chat, account.limits.send) == (2, Rate(3, 60), Rate(7, 60))


def test_the_settings_win(learner: Learner) -> None:
    assert learner.read(row("main", 1, bridge_url="ws://h:9")) == Change(problems={"main": HIDDEN})
    assert learner.bridges == {"main": "ws://h:1"}
    assert learner.known.source_of("main") == "settings"
    assert learner.read(gone("main", 2)) == Change(), "nothing of the settings goes"
    assert learner.bridges == {"main": "ws://h:1"}


def test_what_is_wrong_is_said_in_the_words_of_the_settings_and_costs_no_other(learner: Learner) -> None:
    change = learner.read(row("a", 1, bridge_url="ws://h:2", max_aeg=5), row("b", 2, bridge_url="ws://h:3"))
    assert change == Change(came=("b",), problems={"a": "account 'a'.max_aeg: no such setting; did you mean max_age?"})
    assert learner.read(row("a", 3, bridge_url="ws://h:2")) == Change(came=("a",))
    assert learner.known.problems == {}


def test_an_account_whose_row_becomes_wrong_stays_as_it_was(learner: Learner) -> None:
    learner.read(row("a", 1, bridge_url="ws://h:2"))
    change = learner.read(row("a", 2, bridge_url="ws://H:2/", limits="often"))
    assert change.changed == change.went == ()
    assert "account 'a'.limits" in change.problems["a"]
    assert learner.bridges["a"] == "ws://h:2"
    assert learner.known.rows["a"].version == 1
    assert learner.read(row("a", 3, bridge_url="ws://h:3")).changed == ("a",)


@pytest.mark.parametrize("url", ["ws://h:3", "ws://[h:3", 7, None])
def test_one_whose_row_is_wrong_and_names_another_bridge_is_let_go(learner: Learner, url: object) -> None:
    """A newer worker may know what this one does not, and own it: the bridge of before may be another account's."""
    learner.read(row("a", 1, bridge_url="ws://h:2"))
    change = learner.read(row("a", 2, bridge_url=url, of_a_newer_version=1), row("b", 3, bridge_url="ws://h:2"))
    assert (change.went, change.came, list(change.problems)) == (("a",), ("b",), ["a"])
    assert learner.bridges["b"] == "ws://h:2"
    assert learner.read(row("a", 4, bridge_url="ws://h:3")).came == ("a",)


def test_a_version_that_is_given_once_more_is_another_change(learner: Learner) -> None:
    """A failover of the database lost the commit that added it; it was added anew, with another bridge."""
    learner.read(row("a", 7, bridge_url="ws://h:2"))
    before = learner.known
    learner.known = learn(learner.settings, before, [], 6)
    again = replace(row("a", 7, bridge_url="ws://h:3"), changed_at=NOW + dt.timedelta(seconds=9))
    assert learner.read(again).changed == ("a",)
    assert learner.bridges["a"] == "ws://h:3"


def test_one_bridge_is_one_account_also_across_settings_and_database(learner: Learner) -> None:
    change = learner.read(
        row("a", 1, bridge_url="ws://H:1/"), row("b", 2, bridge_url="ws://h:2"), row("c", 3, bridge_url="ws://h:2")
    )
    assert change.came == ("b",)
    assert "the accounts 'main' and 'a' have the same bridge_url" in change.problems["a"]
    assert "'b' and 'c'" in change.problems["c"]


def test_accounts_may_change_their_bridges_with_each_other(learner: Learner) -> None:
    learner.read(row("a", 1, bridge_url="ws://h:2"), row("b", 2, bridge_url="ws://h:3"))
    change = learner.read(row("a", 3, bridge_url="ws://h:3"), row("b", 4, bridge_url="ws://h:2"))
    assert sorted(change.changed) == ["a", "b"]
    assert (learner.bridges["a"], learner.bridges["b"]) == ("ws://h:3", "ws://h:2")


def test_what_is_written_anew_has_changed_also_if_the_same_stands_there(learner: Learner) -> None:
    """Removed and added between two looks: its jobs may have met other settings meanwhile."""
    learner.read(row("a", 1, bridge_url="ws://h:2"))
    assert learner.read(row("a", 3, bridge_url="ws://h:2")).changed == ("a",)


def test_only_a_row_that_says_so_makes_an_account_go(learner: Learner) -> None:
    learner.read(row("a", 7, bridge_url="ws://h:2"), row("b", 8, bridge_url="ws://h:3"))
    before = learner.known
    learner.known = learn(learner.settings, before, [], 0)
    assert compare(before, learner.known) == Change()
    assert learner.known.newest == 0, "what is written from now on is read"


def test_the_labels_are_by_lease(learner: Learner) -> None:
    learner.read(row("a", 1, bridge_url="ws://h:2", label="berlin"))
    assert learner.known.labels == {FRONT: None, "account:main": "", "account:a": "berlin"}
    assert learner.known.labels is learner.known.labels, "so it can be seen whether it is another"
