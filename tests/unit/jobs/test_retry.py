"""Back-offs are bounded, spread, and grow; how many tries a job has depends on what went wrong."""

from __future__ import annotations

import datetime as dt
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.jobs import NOW
from worker68.jobs.outcome import ErrorCode
from worker68.jobs.retry import (
    BACK_OFF_BASE_SECONDS,
    BACK_OFF_CAP_SECONDS,
    attempts_allowed,
    back_off_seconds,
    bounded_due_at,
)


class Longest(random.Random):
    """Chance that always takes the most that it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


@given(st.integers(0, 100_000))
def test_a_back_off_is_never_negative_and_never_longer_than_the_cap(attempts: int) -> None:
    assert 0 <= back_off_seconds(attempts) <= BACK_OFF_CAP_SECONDS


def test_the_longest_back_off_doubles_up_to_the_cap() -> None:
    longest = [back_off_seconds(attempts, Longest()) for attempts in range(1, 10)]
    assert longest[0] == BACK_OFF_BASE_SECONDS
    assert all(after in (2 * before, BACK_OFF_CAP_SECONDS) for before, after in pairwise(longest))
    assert longest[-1] == BACK_OFF_CAP_SECONDS


def test_back_offs_are_spread_over_the_whole_time() -> None:
    chance = random.Random(68)
    drawn = [back_off_seconds(5, chance) for _ in range(1000)]
    assert min(drawn) < 1 < 15 < max(drawn) <= 16


@pytest.mark.parametrize("code", ErrorCode)
def test_every_kind_of_failure_has_a_last_try(code: ErrorCode) -> None:
    assert 1 <= attempts_allowed(code) <= 10


def test_a_back_off_by_a_clock_that_was_ahead_ends_within_its_longest_time() -> None:
    soon, longest = NOW + dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=BACK_OFF_CAP_SECONDS)
    assert bounded_due_at(soon, NOW) == soon
    assert bounded_due_at(NOW + dt.timedelta(hours=1), NOW) == longest
