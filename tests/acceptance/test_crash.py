"""kill -9: what was being sent is in doubt, everything else runs at the next owner, and nothing goes out twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, Stage, StageMaker, name, text_of
from tests.parts.worker import wait_until
from worker68.simulator import ALWAYS
from worker68.simulator.population import FRIEND, STRANGER

on_both = pytest.mark.parametrize("shared_stage", ["sqlite", "postgresql"], indirect=True, scope="module")
on_sqlite = pytest.mark.parametrize("shared_stage", ["sqlite"], indirect=True, scope="module")
on_postgresql = pytest.mark.parametrize("shared_stage", ["postgresql"], indirect=True, scope="module")

#: Short, because each kill waits for it, and longer than a machine stands still.
STAGE = {"LEASE_TTL": 4, "VERDICT_TIMEOUT": 30, "REPLY_TIMEOUT": 30}


def restart(stage: Stage) -> None:
    stage.worker.kill()
    stage.bridge.faults.clear()
    stage.worker.start()


def restart_before_the_verdict(stage: Stage, reply_to: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Restart the worker while verdicts are held, which come once it is connected; return the replies before and after."""
    stage.worker.kill()
    stage.worker.start()
    first = stage.take_reply(reply_to)
    stage.worker.wait_for_log("bridge_ready")
    stage.bridge.faults.clear()
    return first, stage.take_reply(reply_to)


@on_both
def test_a_send_under_way_is_in_doubt_and_jobs_not_begun_are_run(stage: Stage) -> None:
    stage.bridge.faults.verdict = "swallowed"
    words, waiting_words = name(), name()
    lost, waiting = stage.send(words), stage.send(waiting_words)
    stage.wait(lambda: stage.frames(words) and stage.row(waiting.id))

    restart(stage)

    reply = stage.end_of(lost)
    assert (reply["status"], reply["error"]["code"], reply["attempts"]) == ("in_doubt", "worker_lost", 1)
    assert stage.end_of(waiting)["status"] == "succeeded"
    assert len(stage.frames(words)) == len(stage.frames(waiting_words)) == 1


@on_postgresql
def test_a_verdict_after_the_crash_ends_the_doubt(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, reply_to = name(), name()
    stage.send(words, reply_to=reply_to)
    stage.wait(lambda: stage.frames(words))

    first, second = restart_before_the_verdict(stage, reply_to)
    assert (first["status"], first["error"]["code"]) == ("in_doubt", "worker_lost")
    assert (second["status"], second["revision"]) == ("succeeded", 2)
    assert len(stage.frames(words)) == 1


@on_sqlite
def test_a_change_under_way_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.silence.set("GroupMemberShutup", ALWAYS)
    result = stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=90)
    stage.wait(lambda: stage.mutes(90))

    restart(stage)

    reply = stage.end_of(result)
    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    assert len(stage.mutes(90)) == 2


@on_both
def test_a_backlog_outlives_kills_and_nothing_goes_out_twice(stage: Stage) -> None:
    mark = name()
    chats = [{"type": "friend", "id": FRIEND}, {"type": "group", "id": GROUP}]
    results = [stage.send(f"{mark} {number}", chat=chats[number % 2]) for number in range(80)]

    for at_least in (4, 30):
        stage.wait_for_sent(mark, at_least)
        restart(stage)

    replies = [stage.end_of(result) for result in results]
    assert {reply["status"] for reply in replies} <= {"succeeded", "in_doubt"}
    doubtful = [reply for reply in replies if reply["status"] == "in_doubt"]
    assert {reply["error"]["code"] for reply in doubtful} <= {"worker_lost"}
    assert len(doubtful) <= 4
    texts = [sent.text for sent in stage.bridge.sent if mark in sent.text]
    assert len(texts) == len(set(texts))
    assert len(texts) >= 80 - len(doubtful)
    assert stage.redis.hlen("worker68:unacked:main") == 0
    assert stage.rows("SELECT job_id FROM jobs WHERE state <> 'ended'") == []


@on_postgresql
def test_a_standby_takes_over_and_the_dead_owner_holds_nothing(stage: Stage) -> None:
    stage.bridge.faults.verdict = "swallowed"
    standby = stage.second_worker()
    standby.start()
    standby.wait_ready()
    words, waiting_words = name(), name()
    lost, waiting = stage.send(words), stage.send(waiting_words)
    stage.wait(lambda: stage.frames(words) and stage.row(waiting.id))
    assert stage.bridge.connections == 1

    stage.worker.kill()
    stage.bridge.faults.clear()

    assert stage.end_of(lost)["error"]["code"] == "worker_lost"
    assert stage.end_of(waiting)["status"] == "succeeded"
    assert len(stage.frames(words)) == len(stage.frames(waiting_words)) == 1
    assert standby.stop() == 0
    stage.worker.start()
    stage.worker.wait_ready()


def test_with_the_default_lease_all_accounts_of_a_killed_worker_are_taken_over(make_stage: StageMaker) -> None:
    """How soon, ``benchmarks.takeover`` measures. The jobs are of all stages: under way, waiting, and not taken in yet."""
    stage = make_stage("postgresql", accounts={f"other-{number}": {} for number in range(3)}, VERDICT_TIMEOUT=30)
    standby = stage.second_worker()
    for worker in (stage.worker, standby):
        worker.start()
    stage.wait(lambda: sorted(Counter(stage.owners().values()).values()) == [2, 2])
    (owner,) = re.findall(r'"owner": "([^"]+)", "accounts"', stage.worker.log)
    late, lost = (account for account, holder in stage.owners().items() if holder == owner)
    stage.bridges[late].faults.hold_verdicts = True
    stage.bridges[lost].faults.verdict = "swallowed"
    words = name()
    results = {account: [ask(stage, account, f"{words} {number}") for number in range(5)] for account in (late, lost)}
    stage.wait(lambda: all(stage.frames(f"{words} 0", stage.bridges[account]) for account in results))

    stage.worker.kill()
    stage.bridges[lost].faults.clear()
    for account, asked in results.items():
        asked += [ask(stage, account, f"{words} {number}") for number in range(5, 10)]
    wait_until(lambda: list(Counter(stage.owners().values()).values()) == [4], lambda: standby.last_words)
    wait_until(lambda: all(bridge.connections == 1 for bridge in stage.bridges.values()), lambda: standby.last_words)
    stage.bridges[late].faults.clear()

    for account, asked in results.items():
        wait_until(lambda: all(result.ready() for result in asked), lambda: standby.last_words)  # noqa: B023
        frames = [one.frame for one in stage.bridges[account].received if one.frame["type"] == "sendMsg"]
        assert [text_of(frame) for frame in frames] == [f"{words} {number}" for number in range(10)]
        assert {stage.end_of(result)["status"] for result in asked[1:]} == {"succeeded"}
    in_doubt = stage.end_of(results[lost][0])
    assert (in_doubt["status"], in_doubt["error"]["code"], in_doubt["revision"]) == ("in_doubt", "worker_lost", 1)
    wait_until(lambda: row_of(stage, results[late][0], late)["revision"] == 2, lambda: standby.last_words)
    assert row_of(stage, results[late][0], late)["status"] == "succeeded"
    assert standby.stop() == 0


def row_of(stage: Stage, result: Any, account: str) -> dict[str, Any]:
    row = stage.row(result.id, account)
    assert row is not None
    return row


def ask(stage: Stage, account: str, words: str) -> Any:
    return stage.send_task(SEND, f"worker68.{account}", account=account, chat=GROUP_CHAT, text=words)


@on_postgresql
def test_an_owner_that_wakes_after_its_lease_writes_nothing_more(stage: Stage) -> None:
    """Not on SQLite: there an owner that stands still in a transaction keeps all others from writing until it wakes."""
    standby = stage.second_worker()
    standby.start()
    standby.wait_ready()
    mark = name()
    with stage.cut_off("the owner stands still for longer than its lease"):
        stage.worker.pause()
        results = [stage.send(f"{mark} {number}") for number in range(10)]
        assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 10

        stage.worker.resume()
        stage.worker.wait_for_log("lease_lost")
    results += [stage.send(f"{mark} {number}") for number in range(10, 15)]

    assert [stage.end_of(result)["status"] for result in results[10:]] == ["succeeded"] * 5
    texts = [sent.text for sent in stage.bridge.sent if mark in sent.text]
    assert texts == [f"{mark} {number}" for number in range(15)]
    standby.kill()


def set_notice(stage: Stage, words: str, reply_to: str = "") -> Any:
    return stage.send_task("worker68.set_group_notice", group_id=GROUP, notice=words, reply_to=reply_to or name())


def notices(stage: Stage, words: str) -> int:
    """Return how often the bridge was asked to set this notice."""
    return sum(call["groupParam"].get("notice") == words for call in stage.calls("GroupUpdate"))


@on_both
def test_a_job_whose_change_was_made_goes_on_at_the_announcement(stage: Stage) -> None:
    words = name()
    stage.hold_replies()
    result = set_notice(stage, words)
    stage.wait(lambda: notices(stage, words))
    stage.bridge.log_out()  # so that the announcement waits
    stage.bridge.faults.hold_replies = False
    stage.wait(lambda: (stage.row(result.id) or {}).get("step") == 1)

    stage.worker.kill()
    stage.bridge.log_in()
    stage.bridge.faults.clear()
    stage.worker.start()

    reply = stage.end_of(result)
    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    assert type(reply["result"]["notice_id"]) is int
    assert type(reply["result"]["announcement"]["message_id"]) is int
    assert (notices(stage, words), len(stage.frames(words)), stage.sent(words)) == (1, 1, 1)


@on_postgresql
def test_an_announcement_under_way_is_in_doubt_until_its_verdict_and_never_made_again(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, reply_to = name(), name()
    result = set_notice(stage, words, reply_to)
    stage.wait(lambda: stage.frames(words))

    first, second = restart_before_the_verdict(stage, reply_to)
    assert (first["status"], first["error"]["code"]) == ("in_doubt", "worker_lost")
    assert type(first["result"]["notice_id"]) is int
    assert first["result"]["announcement"] is None
    assert (second["status"], second["error"], second["revision"]) == ("succeeded", None, 2)
    assert second["result"]["notice_id"] == first["result"]["notice_id"]
    assert type(second["result"]["announcement"]["message_id"]) is int
    assert (notices(stage, words), len(stage.frames(words))) == (1, 1)
    row = stage.row(result.id)
    assert row is not None
    assert (row["state"], row["status"], row["revision"]) == ("ended", "succeeded", 2)


@on_postgresql
def test_a_list_that_was_read_before_the_account_was_lost_does_not_overwrite_a_newer_one(stage: Stage) -> None:
    stage.hold_replies()
    standby = stage.second_worker()
    standby.start()
    standby.wait_ready()
    result = stage.send_task("worker68.sync_contacts")
    stage.wait(lambda: stage.calls("ContactsList"))
    with stage.cut_off("the owner stands still for longer than its lease"):
        stage.worker.pause()  # its reply comes, and lies unread while the other worker takes over
        stage.bridge.faults.clear()
        stage.bridge.change(lambda world: world.add_contact(STRANGER))
        assert stage.end_of(result)["status"] == "succeeded"

        stage.worker.resume()
        stage.worker.wait_for_log("lease_lost")
    stage.wait(lambda: any(end in stage.worker.log_since_start for end in ("job_ended", "job_not_ready_any_more")))

    there = stage.rows("SELECT user_id FROM contacts WHERE removed_at IS NULL")
    assert STRANGER in {row["user_id"] for row in there}
    assert len(stage.rows("SELECT id FROM snapshots WHERE kind = 'contacts'")) == 1
    standby.kill()
