"""What Redis refuses is known by its key until it is taken or forgotten, and never more keys than so many."""

from __future__ import annotations

import pytest

from tests.parts.clock import Clock
from worker68.execution.refusals import FORGET_SECONDS, MOST_KEYS, OTHERS, Refusals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.refusals")
    return clock


def note(refusals: Refusals, key: str) -> None:
    refusals.note(key, "reply", "WRONGTYPE", "delete it")


def test_a_key_is_known_until_something_is_taken_there(clock: Clock) -> None:
    refusals = Refusals()
    note(refusals, "b")
    note(refusals, "a")
    note(refusals, "b")
    assert [(one.key, one.count) for one in refusals.now()] == [("a", 1), ("b", 2)]
    refusals.taken("b")
    assert [one.key for one in refusals.now()] == ["a"]


def test_a_key_that_is_not_refused_again_is_forgotten(clock: Clock) -> None:
    refusals = Refusals()
    note(refusals, "a")
    clock.pass_by(FORGET_SECONDS)
    assert refusals.now() == []


def test_of_many_keys_only_so_many_are_known_by_name(clock: Clock) -> None:
    refusals = Refusals()
    for number in range(MOST_KEYS + 50):
        note(refusals, f"key{number}")
    found = {one.key: one.count for one in refusals.now()}
    assert len(found) == MOST_KEYS + 1
    assert found[OTHERS] == 50
