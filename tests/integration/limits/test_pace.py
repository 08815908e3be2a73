"""The slow-down: how busy answers and successes move an account's pace, and the pause of a service that keeps saying busy."""

from __future__ import annotations

import pytest
import redis

from worker68.limits.limiter import Ask, Grant, Limiter, Refusal
from worker68.limits.pace import Pace, PaceState, pace_key, read_paces
from worker68.limits.rates import NO_LIMITS, Limits, Rate
from worker68.limits.slow_downs import SlowDown

NOON = 1_795_000_000_000_000
SECOND = 1_000_000

#: No matter how slow, a slot is never more than a fifth of a second away.
QUICK = Limits(Rate(100, 1), None, None, None, None)


class Clock:
    """Redis's clock as a test moves it."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(client: redis.Redis, clock: Clock) -> Pace:
    return Pace(client, clock)


@pytest.fixture
def limiter(client: redis.Redis, clock: Clock) -> Limiter:
    return Limiter(client, clock=clock)


def busy(pace: Pace, clock: Clock, moments: int) -> list[float]:
    """Report so many busy answers, each to a frame of the pace that the one before it left."""
    paces = []
    for _ in range(moments):
        clock.pass_seconds(0.1)
        paces.append(pace.report_busy("main"))
    return paces


def ask(limiter: Limiter, count: int = 1) -> list[Grant | Refusal]:
    return limiter.acquire("main", QUICK, [Ask(None, "read")] * count)


def test_each_busy_moment_halves_the_pace_down_to_a_twentieth(pace: Pace, clock: Clock) -> None:
    assert busy(pace, clock, 6) == [0.5, 0.25, 0.1, 0.05, 0.05, 0.05]


def test_busy_answers_of_one_moment_halve_it_once(pace: Pace, clock: Clock) -> None:
    """Eight frames went out at the old pace; that seven more are told busy says nothing about the new one."""
    clock.pass_seconds(1)
    assert pace.report_busy("main", age_seconds=1) == 0.5
    for _ in range(7):
        clock.pass_seconds(0.1)
        assert pace.report_busy("main", age_seconds=1.5) == 0.5
    assert pace.report_busy("main", age_seconds=0.1) == 0.25, "this one was granted after the slow-down"


def test_twenty_successes_win_back_one_step(pace: Pace, clock: Clock) -> None:
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    assert [pace.report_success("main") for _ in range(21)] == [0.5] * 19 + [0.55] * 2


def test_successes_of_the_pace_before_do_not_count(pace: Pace, clock: Clock) -> None:
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    assert pace.report_success("main", 100, age_seconds=2) == 0.5
    assert pace.report_success("main", 20) == 0.55


def test_successes_may_be_reported_together(pace: Pace, clock: Clock) -> None:
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    assert pace.report_success("main", 50) == 0.6
    assert pace.report_success("main", 10) == 0.65


def test_a_busy_answer_makes_the_count_begin_again(pace: Pace, clock: Clock) -> None:
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    pace.report_success("main", 19)
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    assert pace.report_success("main") == 0.25


def test_a_full_pace_is_not_written_down(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    assert pace.report_success("main", 1000) == 1
    busy(pace, clock, 1)
    clock.pass_seconds(1)
    assert pace.report_success("main", 199) == 0.95
    assert pace.report_success("main", 1) == 1
    assert list(client.scan_iter()) == []


def test_a_pace_belongs_to_one_account_and_is_forgotten_in_the_end(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("main")
    assert pace.report_success("other") == 1
    assert 0 < client.ttl(pace_key("main")) <= 86_400


def test_the_third_busy_moment_in_a_row_opens_a_pause(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 2)
    assert isinstance(ask(limiter)[0], Grant)
    busy(pace, clock, 1)
    assert ask(limiter, 2) == [Refusal("busy", pace_key("main"), 2.0, 0.1)] * 2


def test_a_success_in_between_keeps_the_pause_away(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 2)
    clock.pass_seconds(1)
    pace.report_success("main")
    busy(pace, clock, 2)
    clock.pass_seconds(60)
    assert isinstance(ask(limiter)[0], Grant)


def test_one_probe_at_a_time_may_go(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(2)
    probe, *others = ask(limiter, 3)
    assert probe == Grant(0.0)
    assert [isinstance(other, Refusal) and other.limit for other in others] == ["busy", "busy"]
    clock.pass_seconds(30)
    assert isinstance(ask(limiter)[0], Refusal), "nobody has said what became of the probe"


@pytest.mark.parametrize("pauses", [[4, 8, 16, 32, 60, 60]])
def test_a_probe_that_is_told_busy_doubles_the_pause(
    pace: Pace, clock: Clock, limiter: Limiter, pauses: list[int]
) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(2)
    for seconds in pauses:
        assert isinstance(ask(limiter)[0], Grant)
        busy(pace, clock, 1)
        (refusal,) = ask(limiter)
        assert isinstance(refusal, Refusal)
        assert (refusal.limit, refusal.retry_after_seconds) == ("busy", seconds)
        clock.pass_seconds(seconds)


def test_a_pause_that_is_longer_than_a_probe_lasts_holds(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    rule = SlowDown("account", 0.5, 600.0)
    for _ in range(10):
        clock.pass_seconds(0.1)
        pace.report_busy("main", rule=rule)
    (refusal,) = ask(limiter)
    assert isinstance(refusal, Refusal)
    assert (refusal.limit, refusal.retry_after_seconds) == ("busy", 256.0)
    clock.pass_seconds(256)
    assert isinstance(ask(limiter)[0], Grant)


def test_a_probe_that_succeeds_ends_the_pause(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(2)
    ask(limiter)
    clock.pass_seconds(1)
    pace.report_success("main", age_seconds=1)
    clock.pass_seconds(60)
    assert isinstance(ask(limiter)[0], Grant)
    assert busy(pace, clock, 1) == [0.05]
    assert isinstance(ask(limiter)[0], Grant), "the count of busy moments began again"


def test_a_success_that_was_granted_before_does_not_end_it(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 3)
    pace.report_success("main", age_seconds=1)
    assert isinstance(ask(limiter)[0], Refusal)


@pytest.mark.parametrize(("written", "seconds"), [(True, 2.0), (False, 0.0)])
def test_after_a_probe_that_told_nothing_the_next_one_may_go(
    pace: Pace, clock: Clock, limiter: Limiter, written: bool, seconds: float
) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(2)
    ask(limiter)
    clock.pass_seconds(1)
    pace.note_unclear("main", 1.0, written)
    clock.pass_seconds(seconds)
    assert isinstance(ask(limiter)[0], Grant)


def test_a_probe_of_which_nobody_tells_the_end_is_given_up(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(2)
    ask(limiter)
    clock.pass_seconds(60)
    assert isinstance(ask(limiter)[0], Grant)


def test_a_clock_set_back_stops_neither_the_slow_down_nor_the_probes(
    pace: Pace, clock: Clock, limiter: Limiter
) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(-86_400)
    assert isinstance(ask(limiter)[0], Grant)
    assert busy(pace, clock, 1) == [0.05]


def test_the_state_can_be_read(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("slow")
    for _ in range(7):  # so that the pause is long, however slow the machine is
        pace.report_busy("paused")
    states = read_paces(client, ["full", "slow", "paused"])
    assert states["full"] == PaceState()
    assert states["full"].words is None
    assert states["slow"] == PaceState(0.5)
    assert states["slow"].words == "slowed down to 50% of its limits after busy answers"
    assert states["paused"].share == 0.05
    assert 0 < (states["paused"].probe_in_seconds or 0) <= 32
    assert "only a probe goes" in (states["paused"].words or "")


def test_a_success_that_was_under_way_when_busy_came_does_not_hide_the_slow_down(
    pace: Pace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer "full pace" was true when Redis gave it; by the time it is written down another thread has slowed down."""
    real = pace.report_success

    def and_then_busy(account: str, successes: int = 1, age_seconds: float = 0.0, call: str = "") -> float:
        answer = real(account, successes, age_seconds, call)
        monkeypatch.undo()
        busy(pace, clock, 1)
        return answer

    monkeypatch.setattr(pace, "report_success", and_then_busy)
    pace.note_success("main")
    clock.pass_seconds(1)
    for _ in range(20):
        pace.note_success("main")
    assert pace.report_success("main", 0) == 0.55


def test_a_busy_answer_slows_its_kind_of_call_alone(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    assert pace.report_busy("main", call="GroupReqList") == 0.5
    assert read_paces(client, ["main"])["main"] == PaceState(calls={"GroupReqList": PaceState(0.5)})
    assert (
        read_paces(client, ["main"])["main"].words == "GroupReqList: slowed down to 50% of its pace after busy answers"
    )
    assert not pace.is_full("main", "GroupReqList")


def test_a_kind_of_call_that_stays_busy_is_paused_alone(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    for _ in range(3):
        clock.pass_seconds(0.1)
        pace.report_busy("main", call="GroupReqList")
    asks = [Ask(None, "read", "GroupReqList"), Ask(None, "read", "GroupDetail"), Ask(None, "send")]
    broken, detail, send = limiter.acquire("main", QUICK, asks)
    assert isinstance(broken, Refusal)
    assert (broken.limit, broken.call, broken.pace) == ("busy", "GroupReqList", 1.0)
    assert broken.retry_after_seconds == pytest.approx(2.0)
    assert (detail, send) == (Grant(0.0), Grant(0.01))


def test_a_probe_of_the_account_that_a_broken_call_was_lets_the_next_one_go(
    pace: Pace, clock: Clock, limiter: Limiter
) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(61)
    assert limiter.acquire("main", QUICK, [Ask(None, "read", "GroupReqList")]) == [Grant(0.0)]
    clock.pass_seconds(1)
    pace.report_busy("main", 1.0, "GroupReqList")
    assert isinstance(ask(limiter)[0], Refusal)
    clock.pass_seconds(2)
    assert isinstance(ask(limiter)[0], Grant)


def test_a_busy_answer_to_an_older_frame_leaves_the_probe_alone(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    busy(pace, clock, 3)
    clock.pass_seconds(61)
    ask(limiter)
    clock.pass_seconds(1)
    pace.report_busy("main", 100.0, "GroupReqList")
    clock.pass_seconds(30)
    assert isinstance(ask(limiter)[0], Refusal)


def test_a_slowed_kind_of_call_has_a_distance_of_its_own(pace: Pace, clock: Clock, limiter: Limiter) -> None:
    clock.pass_seconds(0.1)
    pace.report_busy("main", call="GroupReqList")
    ask = Ask(None, "read", "GroupReqList")
    first, second, third = limiter.acquire("main", NO_LIMITS, [ask] * 3)
    assert (first, second) == (Grant(0.0), Grant(2.0)), "a second by default, at half the pace"
    assert isinstance(third, Refusal)
    assert (third.limit, third.call, third.retry_after_seconds) == ("call", "GroupReqList", 2.0)
    assert limiter.acquire("main", NO_LIMITS, [Ask(None, "read", "GroupDetail")] * 3) == [Grant(0.0)] * 3


@pytest.mark.parametrize(("apart_seconds", "account"), [(59, 0.5), (61, 1.0)])
def test_two_kinds_within_a_minute_slow_the_account(
    client: redis.Redis, pace: Pace, clock: Clock, apart_seconds: float, account: float
) -> None:
    pace.report_busy("main", call="GroupReqList")
    clock.pass_seconds(apart_seconds)
    assert pace.report_busy("main", call="GroupDetail") == 0.5
    assert read_paces(client, ["main"])["main"].share == account


def test_a_kind_that_comes_again_still_knows_the_other_one(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    for call, seconds in (("A", 0.0), ("B", 50.0), ("B", 5.0)):
        clock.pass_seconds(seconds)
        pace.report_busy("main", call=call)
    state = read_paces(client, ["main"])["main"]
    assert (state.share, list(state.calls)) == (0.25, ["A"])


def test_a_send_slows_the_account_and_so_does_a_call_after_it(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    clock.pass_seconds(0.1)
    pace.report_busy("main")
    clock.pass_seconds(0.1)
    pace.report_busy("main", call="GroupDetail")
    assert read_paces(client, ["main"])["main"] == PaceState(0.25)


def test_a_rule_says_what_slows_by_how_much_and_for_how_long(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    rule = SlowDown("account", 0.8, 3.0)
    shares = []
    for _ in range(5):
        clock.pass_seconds(0.1)
        shares.append(pace.report_busy("main", call="GroupDetail", rule=rule))
    assert shares == [0.8, 0.6, 0.45, 0.35, 0.25]
    assert client.hget(pace_key("main"), "pause") == b"3000000"


def test_a_kind_of_call_recovers_by_its_own_successes(client: redis.Redis, pace: Pace, clock: Clock) -> None:
    pace.report_busy("main", call="GroupReqList")
    clock.pass_seconds(0.1)
    for _ in range(200):
        pace.note_success("main", call="GroupDetail")
    assert read_paces(client, ["main"])["main"].calls == {"GroupReqList": PaceState(0.5)}
    for _ in range(200):
        pace.note_success("main", call="GroupReqList")
    assert not client.exists(pace_key("main")), "a full pace is not written down"
    assert pace.is_full("main", "GroupReqList")


def test_an_account_that_another_worker_has_owned_is_asked_about_again(
    client: redis.Redis, pace: Pace, clock: Clock
) -> None:
    for account in ("main", "other"):
        pace.note_success(account)
    busy(Pace(client, clock), clock, 1)
    pace.forget("main")
    assert not pace.is_full("main")
    assert pace.is_full("other")
    clock.pass_seconds(1)
    for _ in range(20):
        pace.note_success("main")
    assert read_paces(client, ["main"])["main"] == PaceState(0.55)
