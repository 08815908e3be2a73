"""Which places are popped next: new ones and those that rang at once, all others in a slow round."""

from __future__ import annotations

import pytest

from worker68.broker.inbox import POLL, POLL_SECONDS, SAFETY, DuePlaces, Round

NOW = 100.0


@pytest.fixture
def due() -> DuePlaces:
    """Three places, none of which is due, nor the slow round."""
    due = DuePlaces()
    for name in "abc":
        due.add(name)
    due.slow_round = Round(1.0, 0)
    due.poll(NOW)
    due.slow_round = POLL
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
    due.slow_round = Round(POLL_SECONDS, 2)
    for second in range(1, 4):
        due.poll(NOW + second * POLL_SECONDS)
        due.poll(NOW + second * POLL_SECONDS)
        slices.append(due.take(10))
    assert slices == [["a", "b"], ["c", "a"], ["b", "c"]]


def test_a_slice_is_no_more_than_all(due: DuePlaces) -> None:
    due.poll(NOW + POLL_SECONDS)
    assert due.take(500) == ["a", "b", "c"]


def test_of_few_places_one_is_looked_at_now_and_then(due: DuePlaces) -> None:
    due.slow_round = Round(30 * POLL_SECONDS, 50)
    pause = 10 * POLL_SECONDS
    assert due.next_at == NOW + pause
    due.poll(NOW + pause / 2)
    assert due.take(10) == []
    for number, name in enumerate("abca", start=1):
        due.poll(NOW + number * pause)
        assert due.take(10) == [name]


@pytest.mark.parametrize(
    ("slow_round", "places", "look"),
    [
        (SAFETY, 0, (1, 10.0)),
        (SAFETY, 1, (1, 10.0)),
        (SAFETY, 11, (2, 1.0)),
        (SAFETY, 101, (11, 1.0)),
        (SAFETY, 1001, (50, 1.0)),
        (POLL, 1, (1, 1.0)),
        (POLL, 101, (101, 1.0)),
        (POLL, 1001, (500, 1.0)),
    ],
)
def test_a_round_takes_its_time_and_no_more_than_its_most_at_once(
    slow_round: Round, places: int, look: tuple[int, float]
) -> None:
    assert slow_round.look(places) == look


def test_one_place_may_be_taken_by_its_name(due: DuePlaces) -> None:
    due.mark("ab")
    assert due.take_one("b")
    assert not due.take_one("b")
    assert due.take(10) == ["a"]


def test_one_place_may_be_left_out(due: DuePlaces) -> None:
    due.mark("abc")
    assert due.take(2, but="b") == ["a", "c"]
    assert due.take(2) == ["b"]
