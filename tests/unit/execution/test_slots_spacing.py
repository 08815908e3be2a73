"""The spacing at the write: whatever comes late, no window holds more writes than the limit allows."""

from __future__ import annotations

import bisect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.execution.slots import OLDEST_SECONDS, YOUNGEST_SECONDS, Spacing
from worker68.jobs.fields import Chat
from worker68.limits.limiter import Ask
from worker68.limits.rates import NO_LIMITS, Limits, Rate

ROOM, OTHER = Chat("group", 1), Chat("group", 2)
TWENTY = Rate(20, 1)


def only_account(rate: Rate) -> Limits:
    return Limits(rate, None, None, None, None)


def write(spacing: Spacing, ask: Ask, now: float) -> float:
    """Write as soon as it may be from ``now`` on; return when."""
    at = max(now, spacing.earliest(ask))
    spacing.note_write(ask, at)
    return at


def test_the_first_write_may_go_at_once() -> None:
    assert Spacing(only_account(TWENTY)).earliest(Ask(ROOM, "send")) == -math.inf


def test_a_write_keeps_its_distance_but_for_what_a_timer_is_late() -> None:
    spacing = Spacing(only_account(TWENTY))
    spacing.note_write(Ask(ROOM, "send"), 100.0)
    assert spacing.earliest(Ask(None, "read")) == pytest.approx(100.0375)


def test_a_late_write_does_not_shift_those_after_it() -> None:
    spacing, ask = Spacing(only_account(TWENTY)), Ask(ROOM, "send")
    lateness = [0.0, 0.01, 0.0, 0.005, 0.012, 0.0] * 50
    times = [write(spacing, ask, 100.0 + 0.05 * place + late) for place, late in enumerate(lateness)]
    assert times[-1] == pytest.approx(100.0 + 0.05 * 299)


def test_chats_and_classes_have_distances_of_their_own() -> None:
    limits = Limits(None, Rate(1, 1), Rate(10, 1), None, None)
    spacing = Spacing(limits)
    spacing.note_write(Ask(ROOM, "send"), 100.0)
    assert spacing.earliest(Ask(ROOM, "moderate")) == pytest.approx(100.95)
    assert spacing.earliest(Ask(OTHER, "send")) == pytest.approx(100.075)
    assert spacing.earliest(Ask(OTHER, "moderate")) == -math.inf
    assert Spacing(NO_LIMITS).earliest(Ask(ROOM, "send")) == -math.inf


def test_a_burst_may_come_at_once() -> None:
    spacing, ask = Spacing(only_account(Rate(20, 1, burst=3))), Ask(ROOM, "send")
    assert [write(spacing, ask, 100.0) for _ in range(3)] == [100.0] * 3
    assert write(spacing, ask, 100.0) == pytest.approx(100.0375)


@pytest.mark.parametrize(
    ("rate", "seconds"), [(TWENTY, 0.05), (Rate(60, 60), OLDEST_SECONDS), (Rate(1000, 1), YOUNGEST_SECONDS)]
)
def test_a_slot_may_be_as_old_as_the_shortest_interval_within_bounds(rate: Rate, seconds: float) -> None:
    spacing = Spacing(Limits(rate, Rate(1, 3600), None, None, None))
    assert spacing.oldest(Ask(ROOM, "send")) == pytest.approx(seconds)
    assert spacing.tolerance_seconds == pytest.approx(seconds)


def test_without_a_limit_no_slot_is_too_old() -> None:
    assert Spacing(NO_LIMITS).oldest(Ask(ROOM, "send")) == Spacing(NO_LIMITS).tolerance_seconds == math.inf


def test_chats_of_long_ago_are_forgotten() -> None:
    spacing = Spacing(Limits(None, TWENTY, None, None, None))
    for number in range(5000):
        spacing.note_write(Ask(Chat("group", number), "send"), float(number))
    assert len(spacing._due) <= 1002


@given(
    rate=st.builds(Rate, st.integers(1, 30), st.just(1), st.integers(1, 4)),
    lateness=st.lists(st.floats(0, 0.4), min_size=2, max_size=120),
)
def test_no_window_holds_more_than_the_limit(rate: Rate, lateness: list[float]) -> None:
    """Slots as the limiter grants them, each written late by some time, in the order in which they come to the socket."""
    spacing, ask = Spacing(only_account(rate)), Ask(None, "read")
    interval = 1 / rate.count
    slots = [100.0 + max(0, place - rate.burst + 1) * interval for place in range(len(lateness))]
    times: list[float] = []
    for at in sorted(slot + late for slot, late in zip(slots, lateness, strict=True)):
        times.append(write(spacing, ask, max(at, times[-1] if times else at)))
    most = max(bisect.bisect_right(times, start + 1.0) - place for place, start in enumerate(times))
    assert most <= rate.count + rate.burst
