"""Each right that worker68 needs is named where it is missing, and the look for it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.parts import acl
from worker68.cli.redis_rights import Refused, find_refused
from worker68.errors import RedisAway

BELL = "CLIENT TRACKING (jobs are looked for once a second)"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        acl.make_user(client, acl.lines_of_page())
        yield client
        client.acl_deluser(acl.USER)


def refused_with(client: redis.Redis, redis_url: str, rules: str) -> Refused:
    acl.make_user(client, [rules])
    return find_refused(acl.url_of(redis_url), ["main", "second"])


def test_with_the_rights_of_the_page_nothing_is_refused_and_nothing_written(
    client: redis.Redis, redis_url: str
) -> None:
    assert find_refused(acl.url_of(redis_url), ["main"]) == Refused((), ())
    assert client.dbsize() == 0


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ("-rpop", "RPOP worker68.main\\x06\\x166"),
        ("-publish", "PUBLISH /0.celery.pidbox"),
        ("-multi", "MULTI"),
        ("-watch", "WATCH unacked"),
        ("-evalsha", "EVALSHA"),
        ("-getex", "GETEX worker68:lease:account:second"),
        ("resetkeys ~worker68 ~worker68:* ~worker68.main*", "LLEN worker68.second"),
        ("resetkeys ~worker68.*", "SET worker68:lease:front"),
        ("resetkeys ~worker68*", "SADD _kombu.binding.celery.pidbox"),
        ("resetkeys ~worker68*", "ZADD _kombu.binding_deadlines"),
        ("resetkeys ~worker68* ~_kombu.binding.worker68.*", "SADD _kombu.binding.worker68"),
        ("resetkeys ~worker68* ~_kombu.binding.*", "SMEMBERS _kombu.binding_permanent.worker68"),
        ("resetkeys ~worker68* ~_kombu.binding*.worker68.main", "SREM _kombu.binding.worker68.second"),
        ("resetchannels &celery-task-meta-*", "PSUBSCRIBE /0.celery.pidbox"),
    ],
)
def test_what_is_missing_is_named(client: redis.Redis, redis_url: str, rules: str, refused: str) -> None:
    assert refused in refused_with(client, redis_url, rules).needed
    assert client.dbsize() == 0


@pytest.mark.parametrize("rules", ["-client", "-client +client|setname +client|id", "resetchannels"])
def test_what_may_be_missing_is_told_with_its_consequence(client: redis.Redis, redis_url: str, rules: str) -> None:
    found = refused_with(client, redis_url, f"{rules} &/0.celery.pidbox &/0.celeryev/* &celery-task-meta-*")
    assert found.needed == ()
    assert (BELL in found.optional) == (rules != "resetchannels")
    assert any("looked for once a second" in words for words in found.optional)


def test_another_database_is_tried_with_its_own_channels(client: redis.Redis, redis_url: str) -> None:
    url = redis_url.removesuffix("/0") + "/1"
    assert "PSUBSCRIBE /1.celery.pidbox" in find_refused(acl.url_of(url), ["main"]).needed
    assert refused_with(client, url, "-select").needed == ("SELECT 1",)


def test_a_redis_that_is_away_is_away(redis_url: str) -> None:
    with pytest.raises(RedisAway):
        find_refused("redis://127.0.0.1:1/0", ["main"])
