"""What workers say about themselves on a real Redis: a look brings what has changed since the last one, whatever Redis forgets."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from worker68.fleet.members import WORDS_KEY, Members, Word

TTL = 60.0


def word(held: int) -> Word:
    return Word("accounts", 1, [], {"": held})


def join(client: redis.Redis, worker: str, *, ttl: float = TTL) -> Members:
    members = Members(client, worker, ttl)
    members.look(word(0), anew=True)
    return members


def held(members: Members) -> dict[str, int]:
    return {worker: said.held[""] for worker, said in members.words.items()}


def test_each_hears_all_that_came_changed_and_left(client: redis.Redis) -> None:
    first, second, third = (join(client, worker) for worker in ("first", "second", "third"))
    first.look(word(0), anew=False)
    second.look(word(7), anew=False)
    third.leave()
    assert set(held(first)) == {"first", "second", "third"}
    first.look(word(3), anew=False)
    assert held(first) == {"first": 3, "second": 7}


def test_a_look_brings_nothing_where_nothing_has_changed(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    first, run, replies = join(client, "first"), Members._run, list[Any]()

    def note(members: Members, said: bytes, seen: int) -> Any:
        replies.append(run(members, said, seen))
        return replies[-1]

    for number in range(20):
        join(client, f"other-{number}")
    first.look(word(0), anew=False)
    words = first.words
    monkeypatch.setattr(Members, "_run", note)
    first.look(word(0), anew=False)
    assert first.words is words
    [[_, live, *changed]] = replies
    assert (live, changed) == (21, [])


def test_one_that_has_not_looked_for_its_ttl_is_heard_to_have_gone(client: redis.Redis) -> None:
    first = join(client, "first")
    join(client, "dead", ttl=0.001)
    first.look(word(0), anew=False)
    while len(first.words) > 1:
        first.look(word(0), anew=False)
    assert client.hkeys(WORDS_KEY) == [b"first"]


def test_after_redis_has_lost_its_data_only_those_count_that_come_again(client: redis.Redis) -> None:
    first, second, gone = (join(client, worker) for worker in ("first", "second", "gone"))
    first.look(word(0), anew=False)
    assert set(gone.words) == set(first.words)
    client.flushall()
    first.look(word(1), anew=False)
    assert held(first) == {"first": 1}
    second.look(word(2), anew=False)
    first.look(word(1), anew=False)
    assert held(first) == held(second) == {"first": 1, "second": 2}


def test_one_that_has_not_looked_for_long_hears_all_anew(client: redis.Redis) -> None:
    first, second = join(client, "first"), join(client, "second")
    second.look(word(5), anew=False)
    client.delete("worker68:fleet:changes")  # they are remembered for some minutes
    first.look(word(0), anew=True)
    assert held(first) == {"first": 0, "second": 5}


def test_the_word_of_another_version_is_no_fault(client: redis.Redis) -> None:
    join(client, "new")
    client.hset(WORDS_KEY, "new", '{"another": "word"}')
    first = join(client, "first")
    assert first.words["new"].accounts == ""
    assert first.words["first"] == word(0)
