"""What an account's pace learns from its frames, and how early a commit begins."""

from __future__ import annotations

import pytest

from tests.parts.accounts import lease_of, pause_of
from tests.parts.clock import Clock
from tests.parts.jobs import account, job
from tests.parts.onloop import run
from worker68.execution.pacing import LEAST_LEAD_SECONDS, MOST_COMMIT_SECONDS, LeadTime, Pacing
from worker68.execution.slots import JobFrames, Slot, WriteGuard, ask_of
from worker68.jobs.evidence import BUSY, BridgeError
from worker68.jobs.outcome import ErrorCode, TryAgain, failed, succeeded
from worker68.limits.pace import Pace
from worker68.limits.rates import NO_LIMITS
from worker68.limits.slow_downs import DEFAULT_RULES, SlowDown

CLOCK = Clock()

#: A code of the account's own settings.
OWN_CODE = 429
RULES = {**DEFAULT_RULES, OWN_CODE: SlowDown("account")}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOCK.drive(monkeypatch, "worker68.execution.slots")


def frames() -> JobFrames:
    """Return frames whose first slot was granted a second ago."""
    return JobFrames(WriteGuard(NO_LIMITS, lease_of(), pause_of()), job(1), slot())


def slot() -> Slot:
    return Slot(ask_of(job(1)), CLOCK.now, CLOCK.now - 1.0)


class Reported(Pace):
    """Writes down what is reported to the pace, in place of Redis."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.away = self.full = False
        self.woken = 0
        self.pacing = Pacing(account(slow_downs=RULES), self, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def forget(self, account: str) -> None:
        self.forgotten = account

    def is_full(self, account: str, call: str = "") -> bool:
        return self.full

    def report_busy(
        self, account: str, age_seconds: float = 0.0, call: str = "", rule: SlowDown = RULES[BUSY]
    ) -> float:
        return self._say(f"busy, {rule.slows}", age_seconds, call)

    def note_success(self, account: str, age_seconds: float = 0.0, call: str = "") -> None:
        self._say("success", age_seconds, call)

    def note_unclear(self, account: str, age_seconds: float, written: bool, call: str = "") -> None:
        self._say(f"unclear, written {written}", age_seconds, call)

    def _say(self, what: str, age_seconds: float, call: str) -> float:
        if self.away:
            raise ConnectionError("gone")
        assert age_seconds == 1.0, "reckoned from the grant"
        self.said.append(f"{call}: {what}" if call else what)
        return 1.0


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (succeeded({}), "success"),
        (TryAgain(ErrorCode.UNAVAILABLE, "silence", spent=True), "unclear, written True"),
        (TryAgain(ErrorCode.UNAVAILABLE, "not written", spent=False), "unclear, written False"),
        (failed(ErrorCode.REFUSED, "no"), "unclear, written True"),
    ],
)
def test_the_pace_follows_what_frames_met(finding: TryAgain, said: str) -> None:
    reported = Reported()
    run(reported.pacing.report(finding, frames()))
    assert reported.said == [said]


def test_at_full_pace_nothing_but_busy_is_worth_a_call() -> None:
    reported = Reported()
    reported.full = True
    run(reported.pacing.report(succeeded({}), frames()))
    run(reported.pacing.report(TryAgain(ErrorCode.UNAVAILABLE, "silence", spent=True), frames()))
    run(reported.pacing.report_unused(slot()))
    assert reported.said == []
    reported.pacing.note_error(frames(), BridgeError(BUSY, "busy"))
    run(reported.pacing.report_busy())
    assert reported.said == ["busy, call"]


def test_busy_is_reported_once_though_its_evidence_comes_too() -> None:
    reported, frame = Reported(), frames()
    for guard in (frame, None):
        reported.pacing.note_error(guard, BridgeError(BUSY, "busy"))
    assert (reported.woken, frame.was_busy) == (1, True)
    run(reported.pacing.report_busy())
    run(reported.pacing.report(TryAgain(ErrorCode.BUSY, "busy", spent=True), frame))
    assert reported.said == ["busy, call"]


def test_an_error_slows_down_what_its_rule_says() -> None:
    reported = Reported()
    for code in (OWN_CODE, 403, None, "300"):
        reported.pacing.note_error(frames(), BridgeError(code, "no"))
    run(reported.pacing.report_busy())
    assert reported.said == ["busy, account"]


def test_it_is_the_call_that_was_made_that_slows_down() -> None:
    """A step may begin with another call than its slot was asked for."""
    reported, frame = Reported(), frames()
    frame.call = "GroupDetail"
    reported.pacing.note_error(frame, BridgeError(BUSY, "busy"))
    run(reported.pacing.report_busy())
    frame.renew(slot())
    run(reported.pacing.report(succeeded({}), frame))
    assert reported.said == ["GroupDetail: busy, call", "success"]


def test_without_redis_busy_answers_are_kept_and_outcomes_go_on() -> None:
    reported, frame = Reported(), frames()
    reported.away = True
    run(reported.pacing.report(succeeded({}), frame))
    reported.pacing.note_error(frame, BridgeError(BUSY, "busy"))
    with pytest.raises(ConnectionError):
        run(reported.pacing.report_busy())
    reported.away = False
    run(reported.pacing.report_busy())
    run(reported.pacing.report_busy())
    assert reported.said == ["busy, call"]


def test_a_slot_that_was_not_used_ends_its_probe() -> None:
    reported = Reported()
    run(reported.pacing.report_unused(slot()))
    assert reported.said == ["unclear, written False"]


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


def test_what_was_known_of_the_pace_under_an_older_lease_counts_no_more() -> None:
    assert Reported().forgotten == "main"
