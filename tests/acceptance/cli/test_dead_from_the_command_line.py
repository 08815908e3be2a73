"""What a real worker has set aside is listed, shown, put back and dropped by processes of their own."""

from __future__ import annotations

import json

from tests.acceptance.cli.conftest import Run
from tests.acceptance.conftest import Stage, name


def test_a_reply_that_could_not_be_published_reaches_its_reader_after_all(stage: Stage, ask: Run) -> None:
    words, reply_to = name(), name()
    stage.redis.set(f"worker68:replies:{reply_to}", "not a list")
    result = stage.send(words, reply_to=reply_to)
    assert stage.end_of(result)["status"] == "succeeded"
    stage.wait(lambda: stage.dead(reply_to))
    (entry_id,) = [one["id"] for one in listed(ask) if one["address"] == reply_to]
    assert ask("dead", "requeue", entry_id).returncode == 1, "its key is still of a wrong type"

    stage.redis.delete(f"worker68:replies:{reply_to}")
    assert ask("dead", "requeue", entry_id).returncode == 0

    assert stage.take_reply(reply_to)["task_id"] == result.id
    assert stage.dead(reply_to) == []
    assert stage.sent(words) == 1


def test_a_message_that_stays_wrong_is_set_aside_again_until_it_is_dropped(stage: Stage, ask: Run) -> None:
    mark = name()
    stage.push(f"not JSON: {mark}")
    stage.wait(lambda: stage.dead(mark))
    (entry_id,) = [one["id"] for one in listed(ask) if mark in one["message"]]
    assert mark in ask("dead", "show", entry_id).stdout

    assert ask("dead", "requeue", entry_id).returncode == 0
    stage.wait(lambda: [one for one in stage.dead(mark) if one["queue"] == "worker68.main"])
    (entry_id,) = [one["id"] for one in listed(ask) if mark in one["message"]]
    assert ask("dead", "drop", entry_id).returncode == 0

    assert stage.dead(mark) == []
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


def listed(ask: Run) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads(ask("dead", "list", "--json").stdout)
    return entries
