"""gcra.lua against a model in Python that is written to be obvious, and against what a limit promises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker68.jobs.fields import Chat
from worker68.limits.limiter import Ask, Grant, Limiter, Refusal
from worker68.limits.pace import FULL_PACE, SUCCESSES_PER_STEP, Pace
from worker68.limits.rates import Limits, Rate

SECOND = 1_000_000
AHEAD = 2 * SECOND
START = 1_795_000_000 * SECOND

RATES = st.builds(Rate, count=st.integers(1, 50), period_seconds=st.sampled_from([1, 60]), burst=st.integers(1, 4))
LIMITS = st.builds(Limits, *[st.none() | RATES] * 5)
CHATS = st.builds(Chat, type=st.sampled_from(["friend", "group"]), id=st.integers(1, 2))
ASKS = st.builds(Ask, st.none() | CHATS, st.sampled_from(["send", "moderate", "read"]))
BATCHES = st.lists(ASKS, min_size=1, max_size=8)

# One Redis serves all examples: each example is another account.
bounded = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@dataclass
class Model:
    """The rules of gcra.lua, slow_down.lua and speed_up.lua for one account, in exact integers."""

    limits: Limits
    tats: dict[str, int] = field(default_factory=dict)
    pace: int = FULL_PACE
    successes: int = 0

    def acquire(self, now: int, asks: list[Ask]) -> list[tuple[str | None, int]]:
        """Answer ``(None, wait)`` or ``(limit, retry after)`` in microseconds."""
        for scope, (_, rate) in {scope: found for ask in asks for scope, found in self._scopes(ask).items()}.items():
            furthest = now + AHEAD + rate.burst * self._interval(rate)
            if self.tats.get(scope, now) > furthest + 5 * SECOND:
                self.tats[scope] = furthest
        return [self._acquire_one(now, ask) for ask in asks]

    def _acquire_one(self, now: int, ask: Ask) -> tuple[str | None, int]:
        met = self._scopes(ask)
        slot, name = now, None
        for scope, (limit, rate) in met.items():
            if (earliest := self.tats.get(scope, now) - (rate.burst - 1) * self._interval(rate)) > slot:
                slot, name = earliest, limit
        if slot > now + AHEAD:
            return name, slot - now - AHEAD
        for scope, (_, rate) in met.items():
            self.tats[scope] = max(self.tats.get(scope, now), slot) + self._interval(rate)
        return None, slot - now

    def _interval(self, rate: Rate) -> int:
        return math.ceil(math.ceil(rate.period_seconds * SECOND / rate.count) * FULL_PACE / self.pace)

    def _scopes(self, ask: Ask) -> dict[str, tuple[str, Rate]]:
        slowed = Rate(60, 60) if self.pace < FULL_PACE else None
        found: list[tuple[str, str, Rate | None]] = [("account", "account", self.limits.account or slowed)]
        if ask.chat is not None:
            found.append((f"chat:{ask.chat.type}:{ask.chat.id}", "chat", self.limits.chat))
        found.append((ask.job_class, ask.job_class, getattr(self.limits, ask.job_class)))
        return {scope: (limit, rate) for scope, limit, rate in found if rate is not None}

    def report_busy(self) -> None:
        self.pace, self.successes = max(1, self.pace // 2), 0

    def report_success(self, successes: int) -> None:
        if self.pace < FULL_PACE:
            steps, self.successes = divmod(self.successes + successes, SUCCESSES_PER_STEP)
            self.pace = min(FULL_PACE, self.pace + steps)


@pytest.fixture(scope="module")
def accounts() -> Iterator[str]:
    return map("account-{}".format, itertools.count())


class Clock:
    now = START

    def __call__(self) -> int:
        return self.now


def in_microseconds(answer: Grant | Refusal) -> tuple[str | None, int]:
    if isinstance(answer, Grant):
        return None, round(answer.wait_seconds * SECOND)
    return answer.limit, round(answer.retry_after_seconds * SECOND)


MOMENTS = st.tuples(st.one_of(st.integers(0, SECOND), st.integers(-90 * SECOND, 90 * SECOND)), BATCHES)
REPORTS = st.integers(0, 50)


@bounded
@given(limits=LIMITS, steps=st.lists(MOMENTS | REPORTS, min_size=1, max_size=25))
def test_lua_answers_as_the_model_does(
    client: redis.Redis, accounts: Iterator[str], limits: Limits, steps: list[tuple[int, list[Ask]] | int]
) -> None:
    account, clock, model, pace = next(accounts), Clock(), Model(limits), Pace(client)
    limiter = Limiter(client, clock=clock)
    for step in steps:
        if isinstance(step, int):
            share = pace.report_success(account, step) if step else pace.report_busy(account)
            model.report_success(step) if step else model.report_busy()
            assert share == model.pace / FULL_PACE
            continue
        clock.now += step[0]
        answers = limiter.acquire(account, limits, step[1])
        assert [in_microseconds(answer) for answer in answers] == model.acquire(clock.now, step[1])


@bounded
@given(limits=LIMITS, moments=st.lists(st.tuples(st.integers(0, 2 * SECOND), BATCHES), min_size=1, max_size=25))
def test_no_window_holds_more_than_any_limit_allows(
    client: redis.Redis, accounts: Iterator[str], limits: Limits, moments: list[tuple[int, list[Ask]]]
) -> None:
    account, clock = next(accounts), Clock()
    limiter = Limiter(client, clock=clock)
    written: dict[tuple[str, Rate], list[int]] = {}
    for advance, asks in moments:
        clock.now += advance
        for ask, answer in zip(asks, limiter.acquire(account, limits, asks), strict=True):
            if isinstance(answer, Grant):
                for scope, rate in limits_met(limits, ask).items():
                    written.setdefault((scope, rate), []).append(clock.now + round(answer.wait_seconds * SECOND))
    for (_, rate), slots in written.items():
        assert most_in_a_window(slots, rate.period_seconds * SECOND) <= rate.count + rate.burst


def limits_met(limits: Limits, ask: Ask) -> dict[str, Rate]:
    rates = {"account": limits.account, ask.job_class: getattr(limits, ask.job_class)}
    if ask.chat is not None:
        rates[f"{ask.chat.type} {ask.chat.id}"] = limits.chat
    return {scope: rate for scope, rate in rates.items() if rate is not None}


def most_in_a_window(times: list[int], length: int) -> int:
    """Count the most times in any window of this length, both its ends included. The fullest one starts at one of them."""
    times = sorted(times)
    return max(sum(start <= time <= start + length for time in times[at:]) for at, start in enumerate(times))


@pytest.mark.parametrize("pause", [0, 7_919, 333_333, 1_999_999])
def test_a_rate_is_used_up_when_asked_all_the_time(client: redis.Redis, pause: int) -> None:
    rate, clock, slots = Rate(20, 1), Clock(), list[int]()
    limiter = Limiter(client, clock=clock)
    while len(slots) < 200:
        match limiter.acquire(f"every-{pause}", Limits(rate, None, None, None, None), [Ask(None, "send")]):
            case [Grant(wait)]:
                slots.append(clock.now + round(wait * SECOND))
            case [Refusal(_, _, retry_after)]:
                clock.now += max(pause, round(retry_after * SECOND))
    assert most_in_a_window(slots, SECOND) <= 21
    assert (len(slots) - 1) * rate.interval_microseconds >= 0.95 * (slots[-1] - slots[0])


def test_a_rate_is_used_up_by_many_chats_that_have_limits_of_their_own(client: redis.Redis) -> None:
    """A chat's slot that lies far ahead must not cost the account the time before it, once all are waiting."""
    rate, clock, slots = Rate(20, 1), Clock(), list[int]()
    limiter = Limiter(client, clock=clock)
    asks = [Ask(Chat("group", number), "send") for number in range(1, 101)]
    end = START + 30 * SECOND
    while clock.now < end:
        answers = limiter.acquire("many-chats", Limits(rate, Rate(20, 60), None, None, None), asks)
        slots += [clock.now + round(answer.wait_seconds * SECOND) for answer in answers if isinstance(answer, Grant)]
        asks = asks[len(asks) // 3 :] + asks[: len(asks) // 3]
        clock.now += min(
            round(answer.retry_after_seconds * SECOND) for answer in answers if isinstance(answer, Refusal)
        )
    assert most_in_a_window(slots, SECOND) <= 21
    assert len(slots) * rate.interval_microseconds >= 0.95 * (end - START)
