"""May this frame be written now: owner, pause, expiry, the slot's time and age, the spacing, moderation first."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.parts.accounts import lease_of, pause_of
from tests.parts.clock import Clock
from tests.parts.jobs import MUTE, NOW, job
from worker68.clock import utc_now
from worker68.execution.slots import MODERATION_PATIENCE_SECONDS, JobFrames, Slot, WriteGuard, ask_of
from worker68.jobs.job import Job
from worker68.limits.rates import NO_LIMITS, Limits, Rate
from worker68.store.pauses import Pause

CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOCK.drive(monkeypatch, "worker68.execution.slots")


class Scene:
    """A guard, and the frames that it is asked about."""

    def __init__(self, limits: Limits = NO_LIMITS, pause: Pause | None = None) -> None:
        self.lease = lease_of()
        self.guard = WriteGuard(limits, self.lease, pause_of(pause=pause))

    def frame(self, of: Job | None = None, write_in: float = 0.0) -> JobFrames:
        of = of or job(1)
        return JobFrames(self.guard, of, Slot(ask_of(of), CLOCK.now + write_in, CLOCK.now - 1.0))


def test_what_is_in_its_slot_may_go() -> None:
    assert Scene().frame()() is None


def test_without_the_account_nothing_may_go() -> None:
    scene = Scene()
    scene.lease.end()
    assert scene.guard.why_not() == "this worker does not own the account any more"
    assert scene.frame()() == "this worker does not own the account any more"


def test_what_expires_while_it_waits_for_its_slot_may_not_go() -> None:
    over = job(1, expires_at=utc_now() - dt.timedelta(microseconds=1))
    soon = job(2, expires_at=utc_now() + dt.timedelta(hours=1))
    scene = Scene()
    assert scene.frame(over)() == "its time was over before its slot came"
    assert scene.frame(soon)() is None


def test_what_comes_early_is_held_until_its_slot() -> None:
    frame = Scene().frame(write_in=3.0)
    assert frame() == frame.slot.write_at


def test_what_comes_much_too_late_needs_another_slot() -> None:
    scene = Scene(Limits(Rate(20, 1), None, None, None, None))
    frame = scene.frame(write_in=-0.06)
    assert scene.guard.is_too_old(frame.slot)
    assert frame() == "its slot has passed"
    assert not scene.guard.is_too_old(scene.frame(write_in=-0.01).slot)


def test_two_writes_keep_their_distance() -> None:
    scene = Scene(Limits(Rate(1, 1), None, None, None, None))
    first, second = scene.frame(), scene.frame(write_in=0.5)
    assert first() is None
    held_until = second()
    assert isinstance(held_until, float)
    assert held_until == pytest.approx(CLOCK.now + 0.95), "the interval less what a timer may be late"
    CLOCK.now = held_until
    assert second() is None


def test_what_was_refused_takes_no_distance() -> None:
    scene = Scene(Limits(Rate(1, 1), None, None, None, None))
    over = job(1, expires_at=utc_now() - dt.timedelta(microseconds=1))
    assert isinstance(scene.frame(over)(), str)
    assert scene.frame()() is None


def test_while_the_account_is_paused_nothing_may_go() -> None:
    scene = Scene(pause=Pause(1, "main", "a complaint", "ann", NOW, None))
    words = "paused by ann since 2026-11-23 12:00:00 UTC: a complaint"
    assert (scene.guard.paused, scene.guard.why_not(), scene.frame()()) == (True, words, words)


def test_a_moderation_goes_before_sends_whose_slots_are_no_earlier() -> None:
    scene, moderation = Scene(), job(1, MUTE)
    earlier = scene.frame(job(2), write_in=-0.02)
    mute, send = scene.frame(moderation, write_in=-0.01), scene.frame(job(3))
    scene.guard.expect(moderation, mute.slot)
    assert earlier() is None
    held_until = send()
    assert isinstance(held_until, float)
    assert held_until == mute.slot.write_at + MODERATION_PATIENCE_SECONDS
    assert mute() is None
    assert send() is None


def test_a_moderation_that_took_another_slot_keeps_its_place() -> None:
    """All missed their slots, and the send's thread was the quicker one to take another."""
    scene, moderation = Scene(), job(1, MUTE)
    missed, send, mute = (
        scene.frame(moderation, write_in=-1.9),
        scene.frame(job(2), write_in=-0.01),
        scene.frame(moderation),
    )
    scene.guard.expect(moderation, missed.slot)
    assert send.slot.write_at < mute.slot.write_at
    scene.guard.expect(moderation, mute.slot)
    held_until = send()
    assert held_until == mute.slot.write_at + MODERATION_PATIENCE_SECONDS
    assert mute() is None
    assert send() is None


def test_a_moderation_that_does_not_come_holds_sends_for_a_moment_only() -> None:
    scene, moderation = Scene(), job(1, MUTE)
    scene.guard.expect(moderation, scene.frame(moderation, write_in=-MODERATION_PATIENCE_SECONDS).slot)
    assert scene.frame(job(2))() is None
    assert scene.guard._moderations == {}
