"""What lies in Redis and may be missed is found, whatever else lies there, and however many keys there are."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.parts import acl
from tests.parts.jobs import message
from worker68.broker import strays
from worker68.broker.strays import LOOKED_AT, StrayFinder, Strays, count_messages
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet.leases import account_lease, lease_key

#: More than any test needs for a whole round.
STEPS, SECONDS = 1000, 60.0

OTHERS = message("others.task")


def look(client: redis.Redis, *accounts: str, **options: Any) -> Strays:
    """Look through all keys; ``main`` is an account that there is."""
    found = StrayFinder(client, {"main", *accounts}).look(STEPS, SECONDS, **options)
    assert found.complete
    return found


class TestUnknownAccounts:
    def test_the_messages_of_all_its_lists_are_counted(self, client: redis.Redis) -> None:
        for key in ("worker68.ghost", "worker68.ghost:3", "worker68.ghost\x06\x169", "worker68.other"):
            client.lpush(key, "one", "two")
        assert look(client).unknown == {"ghost": 6, "other": 2}

    def test_what_an_owner_takes_is_no_stray(self, client: redis.Redis) -> None:
        for key in ("worker68", "worker68:3", "worker68.main", "worker68.main:9", "worker68.shop"):
            client.lpush(key, "one")
        assert look(client, "shop") == Strays()

    def test_a_worker_of_other_settings_may_own_it(self, client: redis.Redis) -> None:
        for name in ("ghost", "other"):
            client.lpush(f"worker68.{name}", "one")
        client.set(lease_key(account_lease("ghost")), "host-9|1")
        assert look(client).unknown == {"other": 1}

    def test_many_lists_are_asked_for_in_many_trips(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(strays, "LISTS_PER_TRIP", 2)
        for number in range(5):
            client.lpush(f"worker68.ghost-{number}", *range(number + 1))
        client.set(lease_key(account_lease("ghost-4")), "host-9|1")
        assert look(client).unknown == {f"ghost-{number}": number + 1 for number in range(4)}

    def test_keys_that_are_no_lists_are_passed_over(self, client: redis.Redis) -> None:
        client.set("worker68.ghost", "no list")
        client.hset("worker68.ghost:3", "no", "list")
        client.lpush("elsewhere.worker68.ghost", "one")
        assert look(client) == Strays()


class TestPrioritiesThatAreNotRead:
    @pytest.mark.parametrize("separator", [":", "\x06\x16"])
    @pytest.mark.parametrize("queue", ["worker68", "worker68.main"])
    def test_a_list_of_a_step_that_no_worker_reads_is_named(
        self, client: redis.Redis, queue: str, separator: str
    ) -> None:
        """Celery's documented recipe for priorities has ten steps."""
        for step in range(10):
            client.lpush(f"{queue}{separator}{step}", *["one"] * (step + 1))
        found = look(client, replies=False)
        assert found.steps == {f"{queue}{separator}{step}": step + 1 for step in (0, 1, 2, 4, 5, 7, 8)}
        assert found.unknown == {}


class TestTheQueueOfNoName:
    @pytest.mark.parametrize("key", ["celery", "celery:3", "celery\x06\x166"])
    @pytest.mark.parametrize(("before", "after"), [(0, 0), (40, 20), (0, 300), (300, 0), (49, 49)])
    def test_a_task_of_ours_is_found_near_either_end(
        self, client: redis.Redis, key: str, before: int, after: int
    ) -> None:
        client.lpush(key, *[OTHERS] * before, message(), *[OTHERS] * after)
        assert look(client).celery == 1

    def test_each_is_counted_once_where_both_ends_meet(self, client: redis.Redis) -> None:
        client.lpush("celery", *[message()] * (LOOKED_AT + 1))
        client.lpush("celery:3", *[message()] * LOOKED_AT)
        assert look(client).celery == 2 * LOOKED_AT + 1

    def test_the_middle_of_a_long_list_is_not_looked_at(self, client: redis.Redis) -> None:
        client.lpush("celery", *[OTHERS] * LOOKED_AT, message(), *[OTHERS] * LOOKED_AT)
        assert look(client).celery == 0

    def test_messages_of_others_are_none_of_ours(self, client: redis.Redis) -> None:
        client.lpush("celery", OTHERS, message("worker68x.task"), b"\xff", "{}", "[" * 5000)
        assert look(client).celery == 0

    def test_a_key_of_another_type_is_passed_over(self, client: redis.Redis) -> None:
        client.set("celery", "no list")
        client.lpush("celery:9", message())
        assert look(client).celery == 1

    def test_lists_that_redis_does_not_show_are_passed_over(self, client: redis.Redis, redis_url: str) -> None:
        client.lpush("celery", message())
        acl.make_user(client, [*acl.lines_of_page(), "-lrange"])
        with redis.Redis.from_url(acl.url_of(redis_url), protocol=2) as user:
            try:
                assert look(user).celery == 0
            finally:
                client.acl_deluser(acl.USER)


class TestReplies:
    @pytest.fixture(autouse=True)
    def unread(self, client: redis.Redis) -> None:
        client.rpush("worker68:replies:orders", "one", "two")
        client.rpush("worker68:replies:others", "one")

    def test_the_lists_are_told_by_their_keys(self, client: redis.Redis) -> None:
        assert look(client).replies == {"worker68:replies:orders": 2, "worker68:replies:others": 1}

    def test_what_is_no_list_of_replies_is_none(self, client: redis.Redis) -> None:
        client.rpush("worker68:replies:orders:marks", "1:two")
        client.xadd("worker68:replies:orders:stream", {"reply": "read or not, it stays"})
        client.rpush("worker68:dead", "one")
        assert set(look(client).replies) == {"worker68:replies:orders", "worker68:replies:others"}

    def test_they_may_be_left_out(self, client: redis.Redis) -> None:
        client.lpush("worker68.ghost", "one")
        assert look(client, replies=False) == Strays(unknown={"ghost": 1})


class TestRounds:
    @pytest.fixture(autouse=True)
    def many_keys(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        """So many that one step does not see them all."""
        monkeypatch.setattr(strays, "KEYS_PER_STEP", 1)
        client.mset({f"key-{number}": "x" for number in range(100)})
        for number in range(5):
            client.lpush(f"worker68.ghost-{number}", "one")

    def go_round(self, finder: StrayFinder) -> list[Strays]:
        """Return what each look of one step has found, until one ends the round."""
        found = [finder.look(1, SECONDS)]
        while not found[-1].complete:
            assert len(found) < STEPS
            found.append(finder.look(1, SECONDS))
        return found

    def test_a_look_goes_on_where_the_last_one_ended(self, client: redis.Redis) -> None:
        looks = self.go_round(StrayFinder(client, ()))
        assert len(looks) > 5
        counts = [len(found.unknown) for found in looks]
        assert counts == sorted(counts), "what was found stays until the round is over"
        assert (counts[-1], [found.complete for found in looks[:-1]]) == (5, [False] * (len(looks) - 1))

    def test_the_next_round_sees_what_has_changed(self, client: redis.Redis) -> None:
        finder = StrayFinder(client, ())
        self.go_round(finder)
        client.delete("worker68.ghost-0")
        client.lpush("worker68.ghost-1", "two")
        assert self.go_round(finder)[-1].unknown == {
            "ghost-1": 2,
            "ghost-2": 1,
            "ghost-3": 1,
            "ghost-4": 1,
        }

    def test_a_look_ends_with_its_time(self, client: redis.Redis) -> None:
        assert not StrayFinder(client, ()).look(STEPS, 0.0).complete
        assert StrayFinder(client, ()).look(STEPS, SECONDS).complete


class TestCountMessages:
    def test_all_lists_of_a_queue_are_counted(self, client: redis.Redis) -> None:
        for key in ("worker68", "worker68:3", "worker68\x06\x166"):
            client.lpush(key, "one", "two")
        client.lpush("worker68.main:9", "one")
        queues = ["worker68", "worker68.main", "worker68.other"]
        assert count_messages(client, queues) == {"worker68": 6, "worker68.main": 1, "worker68.other": 0}

    def test_a_list_of_another_type_counts_as_none(self, client: redis.Redis) -> None:
        client.set("worker68.main", "no list")
        client.lpush("worker68.main:3", "one")
        assert count_messages(client, ["worker68.main"]) == {"worker68.main": 1}


def test_without_redis_it_is_away(client: redis.Redis, redis_server: EmbeddedRedis) -> None:
    redis_server.kill()
    try:
        with pytest.raises(RedisAway):
            look(client)
    finally:
        redis_server.restart()
