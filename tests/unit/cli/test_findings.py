"""A finding has one verdict; findings of one cause are one; a look without what it needs has nothing to say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from tests.parts.jobs import account
from worker68.cli.findings import RIGHTS, Finding, Ground, NotThere, cause_of, gather
from worker68.errors import RedisAway, RedisForbids, RedisNotNow
from worker68.fleet.accounts import Known

FINE = Finding("database", True, "sqlite")
REFUSED = Finding("redis", False, "refuses RPUSH", "grant it", cause=RIGHTS, effect="said already")


@pytest.mark.parametrize(
    ("ok", "warning", "verdict"),
    [(True, False, "ok"), (True, True, "warning"), (False, False, "wrong"), (False, True, "wrong")],
)
def test_what_is_wrong_is_no_mere_warning(ok: bool, warning: bool, verdict: str) -> None:
    assert Finding("redis", ok, "x", warning=warning).verdict == verdict


def test_programs_get_no_causes() -> None:
    assert REFUSED.as_dict() == {
        "part": "redis",
        "ok": False,
        "warning": False,
        "found": "refuses RPUSH",
        "remedy": "grant it",
    }


def test_one_cause_is_one_finding_with_the_effects_of_the_others() -> None:
    queue = Finding("list worker68", False, "holds a string", cause="worker68", effect="no job is taken in")
    waits = Finding("outbox", False, "2 entries", "look at redis", cause=RIGHTS, effect="2 replies wait")
    silent = Finding("workers", False, "refused", cause=RIGHTS)
    later = Finding("dead", False, "3 entries", cause=RIGHTS, effect="3 entries wait")
    assert gather([FINE, REFUSED, queue, waits, silent, later]) == [
        FINE,
        replace(REFUSED, found="refuses RPUSH; 2 replies wait; 3 entries wait"),
        queue,
    ]


def test_what_has_no_known_cause_is_said_once_each() -> None:
    other = replace(FINE, found="postgresql")
    assert gather([FINE, other, FINE]) == [FINE, other]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NoPermissionError("NOPERM"), RIGHTS),
        (RedisForbids("NOPERM"), RIGHTS),
        (RedisNotNow("OOM"), ""),
        (RedisAway("refused"), ""),
        (ResponseError("WRONGTYPE"), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_a_missing_right_is_a_known_cause(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


def test_a_look_without_redis_or_database_ends() -> None:
    ground = Ground(cast(Any, None), Known({"main": account()}), reached_redis=None, opened_engine=None)
    with pytest.raises(NotThere):
        _ = ground.redis
    with pytest.raises(NotThere):
        _ = ground.engine
    assert list(ground.accounts) == ["main"]
    redis, engine = cast(Any, object()), cast(Any, object())
    there = replace(ground, reached_redis=redis, opened_engine=engine)
    assert (there.redis, there.engine) == (redis, engine)
