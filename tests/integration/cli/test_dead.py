"""What was set aside can be looked at, put back where it belongs, or dropped; and is nowhere lost in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from tests.parts.environment import Environment
from worker68.cli.dead import NoSuchEntry, dead

DEAD = "worker68:dead"
MESSAGE = {"reason": "no id", "queue": "worker68.main", "received_at": "2026-11-23T12:00:00Z", "task_id": None}


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def run(redis_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    Environment(monkeypatch, tmp_path).set(REDIS_URL=redis_url, REPLY_TTL="10m")

    def run(*words: str) -> Result:
        return CliRunner().invoke(dead, words, standalone_mode=False)

    return run


def entry(**fields: Any) -> str:
    return json.dumps(MESSAGE | fields)


def ids(run: Any) -> list[str]:
    return [one["id"] for one in json.loads(run("list", "--json").stdout)]


def test_the_list_shows_the_newest_first_and_says_how_many_more_there_are(run: Any, client: Any) -> None:
    client.rpush(DEAD, *[entry(message=str(number), reason=f"reason {number}") for number in range(1200)])
    lines = run("list", "--limit", "2").stdout.splitlines()
    assert [line.rpartition("  ")[2] for line in lines[1:3]] == ["reason 1199", "reason 1198"]
    assert lines[-1] == "1198 more: give --limit"
    assert len(set(ids(run))) == 50
    assert len(json.loads(run("list", "--json", "--limit", "1100").stdout)) == 1100


def test_an_empty_list_says_so(run: Any, client: Any) -> None:
    assert run("list").stdout == "nothing is set aside\n"


def test_an_entry_shows_its_message(run: Any, client: Any) -> None:
    client.rpush(DEAD, entry(message='{"a": "\x1b[31m"}'))
    shown = run("show", *ids(run)).stdout
    assert "no id" in shown
    assert '"a"' in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("raw", [b"{}", b"\xff\x00"], ids=["text", "bytes"])
def test_a_message_goes_back_into_its_queue_as_it_came(run: Any, client: Any, redis_url: str, raw: bytes) -> None:
    client.rpush(DEAD, entry(message_base64=base64.b64encode(raw).decode()), entry(message="other"))
    client.lpush("worker68.main", "earlier")
    done = run("requeue", ids(run)[1])
    assert done.return_value == 0
    with redis.Redis.from_url(redis_url) as binary:
        assert binary.lrange("worker68.main", 0, -1) == [raw, b"earlier"], "workers take from the right"
    assert client.llen(DEAD) == 1


def test_replies_go_back_to_who_waits_for_them(run: Any, client: Any) -> None:
    client.rpush(DEAD, json.dumps({"reason": "WRONGTYPE", "address": "orders", "message": "one"}))
    client.rpush(DEAD, json.dumps({"reason": "WRONGTYPE", "address": "stream:orders", "message": "two"}))
    assert run("requeue", "--all").return_value == 0
    assert client.lrange("worker68:replies:orders", 0, -1) == ["one"]
    assert [fields for _, fields in client.xrange("worker68:replies:orders:stream")] == [{"reply": "two"}]
    assert 0 < client.ttl("worker68:replies:orders") <= 600
    assert client.llen(DEAD) == 0


def test_what_cannot_be_put_back_stays(run: Any, client: Any) -> None:
    """The key is still of another type; or nobody knows where the entry came from."""
    client.set("worker68:replies:orders", "not a list")
    client.rpush(DEAD, json.dumps({"reason": "WRONGTYPE", "address": "orders", "message": "one"}), "scribble", "{}")
    (reply,) = [one["id"] for one in json.loads(run("list", "--json").stdout) if one["address"]]
    refused = run("requeue", reply)
    assert (refused.return_value, "delete or rename" in refused.stderr) == (1, True)
    assert run("requeue", *[id_ for id_ in ids(run) if id_ != reply]).return_value == 1
    assert client.llen(DEAD) == 3


def test_whatever_others_have_pushed_is_shown_and_dropped(run: Any, client: Any) -> None:
    scribbles = ["scribble", '{"x": ' + "[" * 5000, json.dumps({"message_base64": "\xe4"})]
    client.rpush(DEAD, *scribbles)
    shown = [run("show", id_) for id_ in ids(run)]
    assert [one.exception for one in shown] == [None] * len(scribbles)
    assert run("requeue", "--all").return_value == 1
    assert run("drop", "--all").return_value == 0
    assert client.llen(DEAD) == 0


def test_of_a_message_that_was_too_large_both_ends_are_shown_and_nothing_is_put_back(run: Any, client: Any) -> None:
    client.rpush(DEAD, entry(beginning='{"body": "W1', end='"t"}}'))
    (shown,) = json.loads(run("list", "--json").stdout)
    assert (shown["beginning"], shown["end"]) == ('{"body": "W1', '"t"}}')
    assert "beginning" in run("show", shown["id"]).stdout
    refused = run("requeue", shown["id"])
    assert (refused.return_value, "drop it" in refused.stderr) == (1, True)
    assert client.llen(DEAD) == 1


def test_entries_are_dropped_by_id_or_all_at_once(run: Any, client: Any) -> None:
    client.rpush(DEAD, *[entry(message=str(number)) for number in range(4)], "scribble")
    assert run("drop", ids(run)[0]).return_value == 0
    assert client.llen(DEAD) == 4
    assert run("drop", "--all").return_value == 0
    assert client.llen(DEAD) == 0


def test_an_unknown_id_or_none_is_refused_and_nothing_is_done(run: Any, client: Any) -> None:
    client.rpush(DEAD, entry(message="one"))
    assert isinstance(run("drop", ids(run)[0], "nothing").exception, NoSuchEntry)
    assert "--all" in str(run("drop").exception)
    assert client.llen(DEAD) == 1
