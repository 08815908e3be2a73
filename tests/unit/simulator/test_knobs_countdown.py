"""Countdowns: what holds for the next few, once on the nth, or for one type."""

from __future__ import annotations

from worker68.simulator.knobs import ALWAYS, Countdown, CountdownByType, Trip


def test_countdown_holds_for_the_next_n() -> None:
    countdown = Countdown()
    assert not countdown.take()
    countdown.set(2)
    assert [countdown.take() for _ in range(4)] == [True, True, False, False]
    assert countdown.left == 0
    countdown.set(ALWAYS)
    assert all(countdown.take() for _ in range(100))


def test_trip_acts_once_on_the_nth() -> None:
    trip = Trip()
    assert not trip.take()
    trip.set(3)
    assert [trip.take() for _ in range(5)] == [False, False, True, False, False]


def test_countdown_by_type_keeps_types_apart() -> None:
    silence = CountdownByType({"GroupDetail": 1})
    silence.set("sendMsg", 2)
    assert not silence.take("UserInfo")
    assert [silence.take("GroupDetail") for _ in range(2)] == [True, False]
    assert [silence.take("sendMsg") for _ in range(3)] == [True, True, False]
