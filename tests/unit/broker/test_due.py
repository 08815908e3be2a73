"""Which places are popped next: new ones and those that rang at once, all others in a slow round."""

from __future__ import annotations

import pytest

from worker68.broker.due import POLL_SECONDS, DuePlaces

NOW = 100.0


@pytest.fixture
def due() -> DuePlaces:
    """Three places, none of which is due, nor the slow round."""
    due = DuePlaces()
    for name in "abc":
        due.add(name)
    due.poll(NOW, 0)
    assert due.take(10) == ["a", "b", "c"]
    return due


def test_a_new_place_is_due_once(due: DuePlaces) -> None:
    due.add("d")
    assert due.next_at == 0.0
    assert due.take(10) == ["d"]
    assert due.take(10) == []


def test_what_rang_is_taken_in_the_order_of_its_first_ring(due: DuePlaces) -> None:
    due.mark("ca")
    due.mark("bc")
    assert due.take(2) == ["c", "a"]
    assert due.take(2) == ["b"]


def test_a_place_that_is_not_looked_after_does_not_ring(due: DuePlaces) -> None:
    due.remove("b")
    due.mark("bx")
    assert due.next_at == NOW + POLL_SECONDS
    due.mark_all()
    assert due.take(10) == ["a", "c"]


def test_the_slow_round_takes_a_slice_each_second(due: DuePlaces) -> None:
    slices = []
    for second in range(1, 4):
        due.poll(NOW + second * POLL_SECONDS, 2)
        due.poll(NOW + second * POLL_SECONDS, 2)
        slices.append(due.take(10))
    assert slices == [["a", "b"], ["c", "a"], ["b", "c"]]


def test_a_slice_is_no_more_than_all(due: DuePlaces) -> None:
    due.poll(NOW + POLL_SECONDS, 500)
    assert due.take(500) == ["a", "b", "c"]


def test_one_place_may_be_taken_by_its_name(due: DuePlaces) -> None:
    due.mark("ab")
    assert due.take_one("b")
    assert not due.take_one("b")
    assert due.take(10) == ["a"]


def test_one_place_may_be_left_out(due: DuePlaces) -> None:
    due.mark("abc")
    assert due.take(2, but="b") == ["a", "c"]
    assert due.take(2) == ["b"]
