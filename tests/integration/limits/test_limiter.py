"""The limiter on a real Redis: its keys, its clock, and what happens when Redis forgets, refuses or is away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.impatience import be_impatient
from worker68.clock import Deadline
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.jobs.fields import Chat
from worker68.limits.limiter import Ask, Grant, Limiter, Refusal, Request, find_waits
from worker68.limits.pace import Pace, pace_key
from worker68.limits.rates import NO_LIMITS, Limits, Rate

ACCOUNT_KEY = "worker68:limit:{main}:account"
ROOM = Chat("group", 389284)
SEND = Ask(ROOM, "send")
READ = Ask(None, "read")
HOURLY = Rate(1, 3600)


def only_account(rate: Rate) -> Limits:
    return Limits(rate, None, None, None, None)


def state(client: redis.Redis) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter()}


def test_each_limit_has_its_key(client: redis.Redis) -> None:
    limits = Limits(Rate(9, 1), Rate(9, 1), Rate(9, 1), Rate(9, 1), Rate(9, 1))
    Limiter(client).acquire("main", limits, [SEND, READ, Ask(Chat("friend", 7), "moderate")])
    assert set(client.scan_iter()) == {
        b"worker68:limit:{main}:account",
        b"worker68:limit:{main}:chat:group:389284",
        b"worker68:limit:{main}:chat:friend:7",
        b"worker68:limit:{main}:send",
        b"worker68:limit:{main}:moderate",
        b"worker68:limit:{main}:read",
    }


def test_without_limits_everything_is_granted_and_nothing_written(client: redis.Redis) -> None:
    assert Limiter(client).acquire("main", NO_LIMITS, [SEND] * 500) == [Grant(0)] * 500
    assert state(client) == {}


def test_no_asks_need_no_redis(client: redis.Redis, redis_server: EmbeddedRedis) -> None:
    redis_server.kill()
    assert Limiter(client).acquire("main", only_account(HOURLY), []) == []


def test_accounts_do_not_meet_each_others_limits(client: redis.Redis) -> None:
    limiter = Limiter(client)
    assert limiter.acquire("main", only_account(HOURLY), [SEND]) == [Grant(0)]
    assert limiter.acquire("other", only_account(HOURLY), [SEND]) == [Grant(0)]


def test_a_burst_comes_at_once_and_then_the_steady_pace(client: redis.Redis) -> None:
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
    answers = limiter.acquire("main", only_account(Rate(2, 1, burst=3)), [SEND] * 8)
    refused = Refusal("account", ACCOUNT_KEY, 0.5)
    assert answers == [Grant(0), Grant(0), Grant(0), Grant(0.5), Grant(1), Grant(1.5), Grant(2), refused]


def test_the_limit_with_the_longest_wait_is_named(client: redis.Redis) -> None:
    limits = Limits(Rate(1, 60), Rate(1, 3600), Rate(1, 300), None, None)
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
    _, same_chat, other_chat, read = limiter.acquire("main", limits, [SEND, SEND, Ask(Chat("friend", 7), "send"), READ])
    assert same_chat == Refusal("chat", "worker68:limit:{main}:chat:group:389284", 3598)
    assert other_chat == Refusal("send", "worker68:limit:{main}:send", 298)
    assert read == Refusal("account", ACCOUNT_KEY, 58)


def test_a_refused_ask_changes_nothing(client: redis.Redis) -> None:
    """Neither the limit that refuses nor those that would have granted."""
    limiter, limits = Limiter(client), Limits(Rate(10, 1), HOURLY, Rate(10, 1), None, None)
    limiter.acquire("main", limits, [SEND])
    before = state(client)
    assert [type(answer) for answer in limiter.acquire("main", limits, [SEND] * 3)] == [Refusal] * 3
    assert state(client) == before


def test_a_refusal_within_a_batch_leaves_room_for_the_next_ask(client: redis.Redis) -> None:
    answers = Limiter(client).acquire(
        "main", Limits(Rate(10, 1), HOURLY, None, None, None), [SEND, SEND, Ask(Chat("group", 2), "send")]
    )
    assert [type(answer) for answer in answers] == [Grant, Refusal, Grant]


def test_keys_end_when_they_no_longer_matter(client: redis.Redis) -> None:
    Limiter(client).acquire("main", Limits(Rate(20, 1), HOURLY, None, None, None), [SEND])
    assert 0 < client.pttl(ACCOUNT_KEY) <= 61_000
    assert 3_600_000 <= client.pttl("worker68:limit:{main}:chat:group:389284") <= 3_661_000


def test_a_clock_set_far_back_does_not_stop_the_account(client: redis.Redis) -> None:
    now = 1_795_000_000_000_000
    limiter, limits = Limiter(client, clock=lambda: now), only_account(Rate(1, 1))
    assert limiter.acquire("main", limits, [SEND] * 3) == [Grant(0), Grant(1), Grant(2)]
    now -= 86_400_000_000
    # What was granted may be written within 2 s of the jump, so the next slot is one interval after that.
    assert limiter.acquire("main", limits, [SEND]) == [Refusal("account", ACCOUNT_KEY, 1)]
    now += 1_000_000
    assert limiter.acquire("main", limits, [SEND]) == [Grant(2)]


def test_a_higher_limit_takes_effect_without_waiting_for_the_old_one(client: redis.Redis) -> None:
    now = 1_795_000_000_000_000
    limiter = Limiter(client, clock=lambda: now)
    limiter.acquire("main", only_account(HOURLY), [SEND])
    assert limiter.acquire("main", only_account(Rate(10, 1)), [SEND]) == [Refusal("account", ACCOUNT_KEY, 0.1)]
    now += 100_000
    assert limiter.acquire("main", only_account(Rate(10, 1)), [SEND]) == [Grant(2)]


def test_the_shortest_ahead_grants_only_what_may_be_written_now(client: redis.Redis) -> None:
    limiter = Limiter(client, ahead_seconds=0, clock=lambda: 1_795_000_000_000_000)
    assert limiter.acquire("main", only_account(Rate(2, 1)), [SEND] * 2) == [
        Grant(0),
        Refusal("account", ACCOUNT_KEY, 0.5),
    ]


def test_a_slowed_down_account_is_stretched_in_the_same_call(client: redis.Redis) -> None:
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
    Pace(client).report_busy("main")
    assert limiter.acquire("main", only_account(Rate(2, 1)), [SEND] * 3) == [Grant(0), Grant(1), Grant(2)]
    assert limiter.acquire("other", only_account(Rate(2, 1)), [SEND] * 3) == [Grant(0), Grant(0.5), Grant(1)]


def test_an_account_without_limits_slows_down_too(client: redis.Redis) -> None:
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
    Pace(client).report_busy("main")
    assert limiter.acquire("main", NO_LIMITS, [SEND] * 3) == [
        Grant(0),
        Grant(2),
        Refusal("account", ACCOUNT_KEY, 2, 0.5),
    ]


def test_redis_own_clock_spaces_the_slots(client: redis.Redis) -> None:
    """The slot of a grant is read from Redis, so that a slow machine shows as a gap there and never as two slots too near."""
    limiter, interval, slots = Limiter(client), Rate(20, 1).interval_microseconds, list[int]()
    deadline = Deadline.after(60)
    while len(slots) < 60:
        assert not deadline.passed
        if isinstance(limiter.acquire("main", only_account(Rate(20, 1)), [SEND])[0], Grant):
            slots.append(int(client.get(ACCOUNT_KEY) or 0) - interval)
    assert all(later - earlier >= interval for earlier, later in pairwise(slots))
    assert max(sum(start <= slot <= start + 1_000_000 for slot in slots) for start in slots) <= 21


def test_workers_that_ask_at_once_share_the_slots(redis_server: EmbeddedRedis, client: redis.Redis) -> None:
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)

    def ask(_: int) -> list[Grant | Refusal]:
        return limiter.acquire("main", only_account(Rate(20, 1)), [SEND] * 5)

    with ThreadPoolExecutor(8) as workers:
        answers = [answer for answers in workers.map(ask, range(40)) for answer in answers]
    granted = sorted(answer.wait_seconds for answer in answers if isinstance(answer, Grant))
    assert granted == [place / 20 for place in range(41)]


def test_scripts_that_redis_has_forgotten_are_loaded_again(client: redis.Redis) -> None:
    limiter, pace = Limiter(client), Pace(client)
    limiter.acquire("main", only_account(HOURLY), [SEND])
    pace.report_busy("main")
    client.script_flush()
    assert isinstance(limiter.acquire("main", only_account(HOURLY), [SEND])[0], Refusal)
    client.script_flush()
    assert pace.report_busy("main") == 0.25


def test_a_redis_that_lost_its_data_begins_anew(redis_server: EmbeddedRedis, client: redis.Redis) -> None:
    limiter = Limiter(client)
    limiter.acquire("main", only_account(HOURLY), [SEND])
    redis_server.kill()
    with pytest.raises(RedisAway, match="did not answer"):
        limiter.acquire("main", only_account(HOURLY), [SEND])
    redis_server.restart()
    assert limiter.acquire("main", only_account(HOURLY), [SEND]) == [Grant(0)]


def test_a_redis_that_hangs_is_away(redis_server: EmbeddedRedis, client: redis.Redis) -> None:
    with redis.Redis.from_url(redis_server.url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as own:
        limiter = Limiter(own)
        limiter.acquire("main", NO_LIMITS, [SEND])
        be_impatient(own)
        redis_server.pause()
        with pytest.raises(RedisAway, match="did not answer"):
            limiter.acquire("main", NO_LIMITS, [SEND])
        redis_server.resume()
        assert limiter.acquire("main", NO_LIMITS, [SEND]) == [Grant(0)]


def test_a_full_redis_is_away(client: redis.Redis) -> None:
    limiter = Limiter(client)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisAway, match="refuses to work at present"):
            limiter.acquire("main", only_account(HOURLY), [SEND])
    finally:
        client.config_set("maxmemory", 0)


def test_several_accounts_ask_in_one_round_trip_and_each_refusal_costs_only_its_own(client: redis.Redis) -> None:
    limiter = Limiter(client)
    client.rpush(pace_key("broken"), "a list")
    names = ["broken", "main", "other", "main"]
    broken, *answers = limiter.acquire_each([Request(name, only_account(HOURLY), [SEND]) for name in names])
    assert isinstance(broken, redis.ResponseError)
    assert answers[:2] == [[Grant(0)], [Grant(0)]]
    assert [type(answer) for answer in cast(Any, answers[2])] == [Refusal]
    client.config_set("maxmemory", 1)
    try:
        full, _ = limiter.acquire_each([Request(name, only_account(HOURLY), [SEND]) for name in ("third", "fourth")])
        assert isinstance(full, RedisAway)
    finally:
        client.config_set("maxmemory", 0)


def test_a_replica_is_away(client: redis.Redis, redis_server: EmbeddedRedis) -> None:
    limiter = Limiter(client)
    client.replicaof("127.0.0.1", "1")
    with pytest.raises(RedisAway, match="refuses to work at present"):
        limiter.acquire("main", only_account(HOURLY), [SEND])
    redis_server.kill()  # one that was promoted would give out no lease to later tests


def test_a_fault_of_ours_is_not_called_an_absence(client: redis.Redis) -> None:
    client.rpush(pace_key("main"), "a list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Limiter(client).acquire("main", only_account(HOURLY), [SEND])


def test_what_would_be_waited_for_can_be_asked_without_taking_anything(client: redis.Redis) -> None:
    limits = Limits(Rate(60, 3600), HOURLY, None, None, Rate(1, 1, burst=5))
    assert find_waits(client, "main", limits, [SEND, READ]) == [None, None]
    Limiter(client).acquire("main", limits, [SEND])
    before = state(client)
    send, other, read = find_waits(client, "main", limits, [SEND, Ask(Chat("friend", 7), "send"), READ])
    assert state(client) == before
    assert send is not None
    assert send.limit == "chat"
    assert 0 < send.retry_after_seconds <= 3600
    for wait in (other, read):
        assert wait is not None
        assert wait.limit == "account"
        assert 0 < wait.retry_after_seconds <= 60


def test_a_pause_of_the_service_is_what_is_waited_for(client: redis.Redis) -> None:
    pace = Pace(client)
    for _ in range(7):  # so that the pause is long, however slow the machine is
        pace.report_busy("main")
    (wait,) = find_waits(client, "main", NO_LIMITS, [SEND])
    assert wait is not None
    assert (wait.limit, wait.pace) == ("busy", 0.05)
    assert 0 < wait.retry_after_seconds <= 32


def test_a_kind_of_call_that_stays_busy_is_what_its_jobs_wait_for(client: redis.Redis) -> None:
    pace = Pace(client)
    for _ in range(7):
        pace.report_busy("main", call="GroupReqList")
    asks = [Ask(None, "read", "GroupReqList"), Ask(None, "read", "GroupDetail"), SEND]
    wait, *others = find_waits(client, "main", NO_LIMITS, asks)
    assert others == [None, None]
    assert wait is not None
    assert (wait.limit, wait.call, wait.pace) == ("busy", "GroupReqList", 1.0)
    assert 0 < wait.retry_after_seconds <= 32


def test_a_slot_is_no_earlier_than_it_can_be_used(client: redis.Redis) -> None:
    limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
    asks = [SEND, SEND]
    assert limiter.acquire("main", only_account(Rate(2, 1)), asks, not_before_seconds=0.2) == [Grant(0.2), Grant(0.7)]
    assert limiter.acquire("main", only_account(Rate(2, 1)), asks, not_before_seconds=0.2) == [Grant(1.2), Grant(1.7)]
