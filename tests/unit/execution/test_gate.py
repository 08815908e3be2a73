"""The last word before a write: owner, expiry, the slot's time and age, the spacing; and what was told busy."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.parts.clock import Clock
from tests.parts.jobs import MUTE, job
from tests.parts.onloop import run
from worker68.clock import utc_now
from worker68.execution.gate import MODERATION_PATIENCE_SECONDS, Gate, Pass
from worker68.execution.pacing import LEAST_LEAD_SECONDS, MOST_COMMIT_SECONDS, LeadTime, Pacing
from worker68.execution.slots import Slot, ask_of
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, TryAgain, failed, succeeded
from worker68.limits.pace import Pace
from worker68.limits.rates import NO_LIMITS, Limits, Rate

CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOCK.drive(monkeypatch, "worker68.execution.gate", "worker68.execution.slots")


class Scene:
    """A gate, and what it is told."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.owned = True
        self.woken = 0
        self.gate = Gate(limits, lambda: self.owned, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def frame(self, of: Job | None = None, write_in: float = 0.0) -> Pass:
        of = of or job(1)
        return Pass(self.gate, of, Slot(ask_of(of), CLOCK.now + write_in, CLOCK.now - 1.0))


def test_what_is_in_its_slot_may_go() -> None:
    assert Scene().frame()() is None


def test_without_the_account_nothing_may_go() -> None:
    scene = Scene()
    scene.owned = False
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
    assert scene.gate.is_too_old(frame.slot)
    assert frame() == "its slot has passed"
    assert not scene.gate.is_too_old(scene.frame(write_in=-0.01).slot)


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
    scene.owned = False
    scene.frame()()
    scene.owned = True
    assert scene.frame()() is None


def test_a_moderation_goes_before_sends_whose_slots_are_no_earlier() -> None:
    scene, moderation = Scene(), job(1, MUTE)
    earlier = scene.frame(job(2), write_in=-0.02)
    mute, send = scene.frame(moderation, write_in=-0.01), scene.frame(job(3))
    scene.gate.expect(moderation, mute.slot)
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
    scene.gate.expect(moderation, missed.slot)
    assert send.slot.write_at < mute.slot.write_at
    scene.gate.expect(moderation, mute.slot)
    held_until = send()
    assert held_until == mute.slot.write_at + MODERATION_PATIENCE_SECONDS
    assert mute() is None
    assert send() is None


def test_a_moderation_that_does_not_come_holds_nobody_for_long() -> None:
    scene, moderation = Scene(), job(1, MUTE)
    scene.gate.expect(moderation, scene.frame(moderation, write_in=-MODERATION_PATIENCE_SECONDS).slot)
    assert scene.frame(job(2))() is None
    assert scene.gate._moderations == {}


def test_what_was_told_busy_is_kept_until_the_pace_knows() -> None:
    scene = Scene()
    frame = scene.frame()
    scene.gate.note_busy(frame)
    scene.gate.note_busy(None)
    assert (scene.woken, frame.told_busy) == (1, True)
    assert scene.gate.take_busy() is frame.slot
    scene.gate.put_back_busy(frame.slot)
    assert scene.gate.take_busy() is frame.slot
    assert scene.gate.take_busy() is None


class Told(Pace):
    """Writes down what the pace is told, in place of Redis."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = self.full = False

    def is_full(self, account: str) -> bool:
        return self.full

    def report_busy(self, account: str, age_seconds: float = 0.0) -> float:
        return self._say("busy", age_seconds)

    def note_success(self, account: str, age_seconds: float = 0.0) -> None:
        self._say("success", age_seconds)

    def note_unclear(self, account: str, age_seconds: float, written: bool) -> None:
        self._say(f"unclear, written {written}", age_seconds)

    def _say(self, what: str, age_seconds: float) -> float:
        if self.away:
            raise ConnectionError("gone")
        assert age_seconds == 1.0, "reckoned from the grant"
        self.said.append(what)
        return 1.0


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (succeeded({}), "success"),
        (TryAgain(ErrorCode.BUSY, "busy", spent=True), "busy"),
        (TryAgain(ErrorCode.UNAVAILABLE, "silence", spent=True), "unclear, written True"),
        (TryAgain(ErrorCode.UNAVAILABLE, "not written", spent=False), "unclear, written False"),
        (failed(ErrorCode.REFUSED, "no"), "unclear, written True"),
    ],
)
def test_the_pace_is_told_what_frames_met(finding: TryAgain, said: str) -> None:
    scene, told = Scene(), Told()
    run(Pacing("main", told, scene.gate).tell(finding, scene.frame()))
    assert told.said == [said]


def test_at_full_pace_only_what_is_busy_is_worth_a_call() -> None:
    scene, told = Scene(), Told()
    pacing, told.full = Pacing("main", told, scene.gate), True
    run(pacing.tell(succeeded({}), scene.frame()))
    run(pacing.tell(TryAgain(ErrorCode.UNAVAILABLE, "silence", spent=True), scene.frame()))
    run(pacing.tell_unused(scene.frame().slot))
    assert told.said == []
    run(pacing.tell(TryAgain(ErrorCode.BUSY, "busy", spent=True), scene.frame()))
    assert told.said == ["busy"]


def test_busy_is_told_once_though_it_is_heard_of_twice() -> None:
    scene, told = Scene(), Told()
    pacing, frame = Pacing("main", told, scene.gate), scene.frame()
    scene.gate.note_busy(frame)
    run(pacing.tell_busy())
    run(pacing.tell(TryAgain(ErrorCode.BUSY, "busy", spent=True), frame))
    assert told.said == ["busy"]
    frame.renew(scene.frame().slot)
    run(pacing.tell(TryAgain(ErrorCode.BUSY, "busy", spent=True), frame))
    assert told.said == ["busy", "busy"]


def test_without_redis_busy_answers_are_kept_and_outcomes_go_on() -> None:
    scene, told = Scene(), Told()
    pacing, frame = Pacing("main", told, scene.gate), scene.frame()
    told.away = True
    run(pacing.tell(succeeded({}), frame))
    scene.gate.note_busy(frame)
    with pytest.raises(ConnectionError):
        run(pacing.tell_busy())
    told.away = False
    run(pacing.tell_busy())
    assert told.said == ["busy"]


def test_a_slot_that_was_not_used_ends_its_probe() -> None:
    scene, told = Scene(), Told()
    run(Pacing("main", told, scene.gate).tell_unused(scene.frame().slot))
    assert told.said == ["unclear, written False"]


def test_a_slow_commit_is_remembered_and_slowly_forgotten() -> None:
    lead = LeadTime()
    assert lead.seconds == LEAST_LEAD_SECONDS
    lead.note(0.4)
    assert lead.commit_seconds == pytest.approx(0.6)
    assert lead.seconds == pytest.approx(0.7)
    lead.note(0.0)
    assert lead.commit_seconds == pytest.approx(0.54)
    lead.note(60)
    assert lead.commit_seconds == MOST_COMMIT_SECONDS
    for _ in range(100):
        lead.note(0.0)
    assert lead.seconds == pytest.approx(LEAST_LEAD_SECONDS, abs=0.001)
