"""A lease that is held is gained once and lost once, whatever the callbacks do; one that is not renewed is lost in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.parts.clock import Clock
from worker68.fleet.held import HeldLeases, LeaseCallback
from worker68.fleet.leases import Lease
from worker68.loop import Loop

TTL = 10.0

FAULTS = pytest.mark.parametrize("fault", [ValueError("no bridge"), SystemExit(1)], ids=["ValueError", "SystemExit"])


class Timers:
    """Stands for the loop: keeps what is to be called, and calls it when its time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        self.waiting.append((self._clock.now + seconds, call))
        return call

    def go_on(self, seconds: float) -> None:
        """Let time pass, and call what is due then."""
        self._clock.pass_by(seconds)
        due = [call for at, call in self.waiting if at <= self._clock.now]
        self.waiting = [(at, call) for at, call in self.waiting if at > self._clock.now]
        for call in due:
            call()


class Scene:
    """Held leases, and what their owner heard: which callback, of which lease, and whether it was held then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.timers = Timers(clock)
        self.heard: list[tuple[str, str, bool]] = []
        self.faults: dict[str, BaseException] = {}
        self.held = HeldLeases(cast(Loop, self.timers), self._hear("gained"), self._hear("lost"))

    def lease(self, name: str, seconds: float = TTL, fence: int = 1) -> Lease:
        """Return a lease as Redis gives it."""
        return Lease(name, "worker-a", fence, self._clock.now + seconds)

    def gain(self, name: str, seconds: float = TTL) -> Lease:
        lease = self.lease(name, seconds)
        assert self.held.gain(lease)
        self.heard.clear()
        return lease

    def _hear(self, what: str) -> LeaseCallback:
        def hear(lease: Lease) -> None:
            self.heard.append((what, lease.name, lease.held))
            if what in self.faults:
                raise self.faults[what]

        return hear


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("held", "leases"):
        monkeypatch.setattr(f"worker68.fleet.{module}.boottime", clock)
    return clock


@pytest.fixture
def scene(clock: Clock) -> Scene:
    return Scene(clock)


def failed(logs: list[Any]) -> list[tuple[str, str]]:
    return [(line["callback"], line["lease"]) for line in logs if line["event"] == "lease_callback_failed"]


def test_what_is_gained_is_held(scene: Scene) -> None:
    b, a = scene.lease("b"), scene.lease("a")
    assert scene.held.gain(b)
    assert scene.held.gain(a)
    assert scene.heard == [("gained", "b", True), ("gained", "a", True)]
    assert scene.held.names() == ["a", "b"]
    assert scene.held.all() == [b, a]
    assert scene.held.find("a") is a
    assert scene.held.find("c") is None


def test_an_earlier_lease_of_the_same_name_is_not_the_one_that_is_held(scene: Scene) -> None:
    held = scene.gain("a")
    assert held in scene.held
    assert scene.lease("a", fence=held.fence) not in scene.held


@FAULTS
def test_what_cannot_be_taken_over_ends_at_once_and_is_not_lost(scene: Scene, fault: BaseException) -> None:
    scene.faults["gained"] = fault
    lease = scene.lease("a")
    with capture_logs() as logs:
        assert not scene.held.gain(lease)
    assert failed(logs) == [("on_gained", "a")]
    assert (lease in scene.held, lease.held, scene.held.all()) == (False, False, [])
    scene.timers.go_on(2 * TTL)
    assert scene.heard == [("gained", "a", True)]


def test_what_is_given_up_is_still_held_when_its_owner_hears_of_it(scene: Scene) -> None:
    given, kept = scene.gain("a"), scene.gain("b")
    scene.held.give_up([given])
    assert scene.heard == [("lost", "a", True)]
    assert (given.held, kept.held, scene.held.all()) == (False, True, [kept])


@FAULTS
def test_a_callback_that_fails_keeps_no_other_lease_from_being_given_up(scene: Scene, fault: BaseException) -> None:
    leases = [scene.gain("a"), scene.gain("b")]
    scene.faults["lost"] = fault
    with capture_logs() as logs:
        scene.held.give_up(leases)
    assert failed(logs) == [("on_lost", "a"), ("on_lost", "b")]
    assert scene.heard == [("lost", "a", True), ("lost", "b", True)]
    assert [lease.held for lease in leases] == [False, False]
    assert scene.held.all() == []


def test_what_another_worker_has_taken_is_lost_with_the_reason(scene: Scene) -> None:
    lease = scene.gain("account:main")
    lease.end()
    with capture_logs() as logs:
        scene.held.lose(lease, "another worker took it")
    (line,) = logs
    assert (line["event"], line["account"], line["reason"]) == ("lease_lost", "main", "another worker took it")
    assert scene.heard == [("lost", "account:main", False)]
    assert lease not in scene.held
    scene.timers.go_on(2 * TTL)
    assert len(scene.heard) == 1, "its end was known already"


def test_each_lease_that_is_not_renewed_is_lost_when_its_time_is_over(scene: Scene) -> None:
    scene.gain("a", 10.0)
    scene.gain("b", 15.0)
    assert len(scene.timers.waiting) == 1, "one timer for all"
    scene.timers.go_on(9.5)
    assert scene.heard == []
    scene.timers.go_on(0.5)
    assert scene.heard == [("lost", "a", False)]
    assert scene.held.names() == ["b"]
    scene.timers.go_on(5.0)
    assert scene.heard == [("lost", "a", False), ("lost", "b", False)]
    assert scene.timers.waiting == []


def test_a_lease_that_is_renewed_is_looked_at_again_at_its_new_end(scene: Scene, clock: Clock) -> None:
    lease = scene.gain("a")
    for _ in range(4):
        scene.timers.go_on(TTL / 2)
        lease.valid_until = clock.now + TTL
    assert scene.heard == []
    scene.timers.go_on(TTL / 2)
    assert scene.heard == []
    scene.timers.go_on(TTL / 2)
    assert scene.heard == [("lost", "a", False)]


def test_a_lapse_is_noticed_also_where_all_were_lost_before(scene: Scene) -> None:
    scene.gain("a")
    scene.timers.go_on(TTL)
    scene.gain("b")
    scene.timers.go_on(TTL)
    assert scene.heard == [("lost", "b", False)]
