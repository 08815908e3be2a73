"""The slow-down: how busy answers and successes move an account's pace."""

from __future__ import annotations

import redis

from worker68.limits.pace import Pace, pace_key


def test_each_busy_answer_halves_the_pace_down_to_a_twentieth(client: redis.Redis) -> None:
    pace = Pace(client)
    assert [pace.report_busy("main") for _ in range(6)] == [0.5, 0.25, 0.1, 0.05, 0.05, 0.05]


def test_twenty_successes_win_back_one_step(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("main")
    assert [pace.report_success("main") for _ in range(21)] == [0.5] * 19 + [0.55] * 2


def test_successes_may_be_reported_together(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("main")
    assert pace.report_success("main", 50) == 0.6
    assert pace.report_success("main", 10) == 0.65


def test_a_busy_answer_makes_the_count_begin_again(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("main")
    pace.report_success("main", 19)
    pace.report_busy("main")
    assert pace.report_success("main") == 0.25


def test_a_full_pace_is_not_written_down(client: redis.Redis) -> None:
    pace = Pace(client)
    assert pace.report_success("main", 1000) == 1
    pace.report_busy("main")
    assert pace.report_success("main", 199) == 0.95
    assert pace.report_success("main", 1) == 1
    assert list(client.scan_iter()) == []


def test_a_pace_belongs_to_one_account_and_is_forgotten_in_the_end(client: redis.Redis) -> None:
    pace = Pace(client)
    pace.report_busy("main")
    assert pace.report_success("other") == 1
    assert 0 < client.ttl(pace_key("main")) <= 86_400
