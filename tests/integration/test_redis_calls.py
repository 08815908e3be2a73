"""A right that Redis refuses for a script is one error that names it, whichever way the script is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from tests.parts import acl
from worker68.broker.wire import Wire
from worker68.errors import RedisForbids
from worker68.redis_calls import LuaScript, Script

Run = Callable[[Sequence[str], Sequence[str]], Any]

#: The file is run with the key of promotions, one lease and its fence.
PACKAGE, FILE = "worker68.fleet", "lease_acquire.lua"
KEYS, ARGUMENTS = ["worker68:promotion", "worker68:lease:x", "worker68:fence:x"], ["worker-a", "1000", "1"]


@pytest.fixture
def user(redis_url: str) -> Iterator[redis.Redis]:
    """An administrator's client; the user has the rights of the page."""
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        acl.make_user(client, acl.lines_of_page())
        yield client
        client.acl_deluser(acl.USER)


@pytest.fixture(params=["client", "wire"])
def run(request: pytest.FixtureRequest, user: redis.Redis, redis_url: str) -> Iterator[Run]:
    """Run the script as that user: by a client, or on a connection of its own."""
    url = acl.url_of(redis_url)
    with redis.Redis.from_url(url, protocol=2) as client, closing(Wire(url, "test")) as wire:
        script = LuaScript(client, PACKAGE, FILE)
        if request.param == "client":
            yield script.run
        else:
            yield lambda keys, arguments: wire.run(script, list(keys), list(arguments))


@pytest.mark.parametrize(
    ("rules", "named"),
    [("-evalsha", "'evalsha'"), ("-time", "the right to TIME:"), ("resetkeys ~other", "no permissions to access")],
)
def test_the_right_is_named(user: redis.Redis, run: Run, rules: str, named: str) -> None:
    acl.make_user(user, [rules])
    with pytest.raises(RedisForbids, match=named):
        run(KEYS, ARGUMENTS)


def test_another_error_is_none_of_rights(user: redis.Redis, run: Run) -> None:
    with pytest.raises(ResponseError) as raised:
        run(KEYS, ["worker-a", "no milliseconds", "1"])
    assert not isinstance(raised.value, RedisForbids)


@pytest.mark.parametrize("mark", ["'", "`"])
def test_a_command_that_the_server_does_not_have_is_named_without_its_arguments(mark: str) -> None:
    """Some managed servers have renamed it. Ours has it, so its words are given here."""
    words = f"unknown command {mark}EVALSHA{mark}, with args beginning with: {mark}secret{mark} "
    with pytest.raises(RedisForbids, match=f"a right .unknown command {mark}EVALSHA{mark}.") as raised:
        Script(PACKAGE, FILE).raise_forbidden(ResponseError(words))
    assert "secret" not in str(raised.value)


def test_a_command_that_a_script_does_not_find_is_named() -> None:
    script = Script(PACKAGE, FILE)
    line = next(number for number, words in enumerate(script.source.splitlines(), 1) if "redis.call('TIME')" in words)
    words = f"Unknown Redis command called from script script: 5b1f, on @user_script:{line}."
    with pytest.raises(RedisForbids, match="the right to TIME"):
        script.raise_forbidden(ResponseError(words))
