"""Ready or not, and why: over a made-up clock."""

from __future__ import annotations

import math

import pytest

from worker68.bridge.health import Health, Timing


@pytest.fixture
def health() -> Health:
    health = Health("ws://bridge:5600", Timing())
    health.note_connected(100.0)
    return health


def why(health: Health, now: float) -> str:
    reason = health.why_not_ready(now)
    assert reason is not None
    return reason


def test_ready_needs_socket_hello_and_login() -> None:
    health = Health("ws://bridge:5600", Timing())
    assert why(health, 99.0) == "connecting to the bridge (ws://bridge:5600)"
    health.note_failure("connection refused")
    assert why(health, 99.0) == "bridge not reachable: connection refused (ws://bridge:5600)"
    health.note_connected(100.0)
    assert why(health, 100.0) == "no Hello yet from the bridge (ws://bridge:5600)"
    health.note_hello(100.0)
    assert "has not said yet" in why(health, 100.0)
    health.note_network("socketLogin", 100.0)
    assert health.why_not_ready(100.0) is None


def test_login_goes_stale(health: Health) -> None:
    health.note_hello(100.0)
    health.note_network("socketLogin", 100.0)
    assert health.next_due == 110.0
    assert health.why_not_ready(109.9) is None
    assert "no sign since" in why(health, 110.0)
    health.note_network("socketLogin", 111.0)
    assert health.why_not_ready(111.0) is None


@pytest.mark.parametrize("status", ["socketLoginout", "networkAnomaly"])
def test_logout_counts_at_once(health: Health, status: str) -> None:
    health.note_hello(100.0)
    health.note_network("socketLogin", 100.0)
    health.note_network(status, 101.0)
    assert "logged out of its server since" in why(health, 101.0)


def test_logout_as_the_first_word_is_told_as_such(health: Health) -> None:
    health.note_hello(100.0)
    health.note_network("socketLoginout", 100.0)
    assert "logged out of its server since" in why(health, 100.0)


def test_other_network_words_change_nothing(health: Health) -> None:
    health.note_hello(100.0)
    health.note_network("socketLogin", 100.0)
    health.note_network("socketDancing", 101.0)
    assert health.why_not_ready(101.0) is None


def test_login_does_not_survive_the_connection(health: Health) -> None:
    health.note_hello(100.0)
    health.note_network("socketLogin", 100.0)
    health.note_lost("closed by the bridge")
    assert why(health, 101.0) == "connection to the bridge lost: closed by the bridge (ws://bridge:5600)"
    assert health.next_due == math.inf
    health.note_connected(102.0)
    health.note_hello(100.0)
    assert health.why_not_ready(102.0) is not None


def test_no_hello_in_time(health: Health) -> None:
    assert health.next_due == 110.0
    assert health.why_drop(109.9) is None
    assert health.why_drop(110.0) == "no Hello within 10 s"


def test_silence_first_asks_then_drops(health: Health) -> None:
    health.note_hello(100.0)
    assert "no sign since" in why(health, 110.0)
    assert health.next_due == 120.0
    assert not health.take_ping(119.9)
    assert health.take_ping(120.0)
    assert not health.take_ping(121.0)
    assert health.next_due == 140.0
    assert health.why_drop(139.9) is None
    assert health.why_drop(140.0) == "nothing heard for 40 s"


def test_any_frame_is_a_sign_of_life(health: Health) -> None:
    health.note_hello(100.0)
    assert "no sign since" in why(health, 110.0)
    assert health.take_ping(120.0)
    health.note_heard(130.0)
    assert health.why_drop(140.0) is None
    assert health.next_due == 150.0


def test_a_new_connection_is_coming_up_until_the_login_is_overdue(health: Health) -> None:
    assert health.coming_up
    health.note_hello(101.0)
    assert (health.coming_up, health.next_due) == (True, 111.0)
    assert "no sign since" in why(health, 111.0)
    assert not health.coming_up


def test_what_is_known_is_not_coming_up_any_more(health: Health) -> None:
    health.note_hello(100.0)
    health.note_network("socketLoginout", 100.0)
    assert not health.coming_up
    health.note_network("socketLogin", 100.0)
    assert not health.coming_up
    health.note_lost("closed by the bridge")
    assert not health.coming_up


def test_a_login_told_before_hello_counts(health: Health) -> None:
    health.note_network("socketLogin", 100.0)
    health.note_hello(101.0)
    assert health.why_not_ready(101.0) is None
