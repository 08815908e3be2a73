"""Order under limits, the kill switch, the slow-down, and what is said of jobs that wait."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, Ask, Stage, name
from tests.parts.remote_control import revoke
from tests.parts.worker import PATIENCE_SECONDS
from worker68.simulator import ALWAYS
from worker68.simulator.population import FRIEND, OTHER_FRIEND

#: One message in a chat every two seconds: a chat with work waits, but no test has to for long.
STAGE = {
    "VERDICT_TIMEOUT": 60,  # longer than any test holds a verdict
    "LIMITS": json.dumps(dict.fromkeys(("account", "send", "moderate", "read"), "1000/s+1000") | {"chat": "30/m"}),
    "MAX_WAITING": 40,
    "accounts": {
        "aged": {"max_age": "20s", "max_waiting": 1000, "limits": "off"},
        "hasty": {"verdict_timeout": "4s"},  # so long each try lasts that is answered with busy
    },
}


def explanation(ask: Ask, job_id: str) -> str:
    shown = ask("jobs", "show", job_id, "--json")
    assert shown.exit_code == 0, shown.stderr
    words: str = json.loads(shown.stdout)["explanation"]
    return words


def paused_in_top(ask: Ask) -> list[str]:
    """Return what ``worker68 top`` says of the account's pause, in its own field and among the problems."""
    told = json.loads(ask("top", "--once", "--json").stdout)
    (paused,) = (account["paused"] for account in told["accounts"] if account["account"] == "main")
    return [words for words in (paused, *told["problems"]) if words and "paused" in words]


def taken_in(stage: Stage, *job_ids: str) -> None:
    stage.wait(lambda: all(stage.row(job_id) for job_id in job_ids))


def to(friend: int) -> dict[str, Any]:
    return {"type": "friend", "id": friend}


def test_a_moderation_passes_every_send_that_waits(stage: Stage) -> None:
    mark, seconds = name(), 4711
    stage.bridge.stop()
    for number in range(5):
        stage.send(f"{mark} {number}", chat=to(FRIEND), options={"priority": 0})
    mute = stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=seconds, options={"priority": 9})
    taken_in(stage, mute.id)
    before = len(stage.bridge.received)

    stage.bridge.start()
    stage.wait_for_sent(mark, 1)

    frames = [one.frame for one in stage.bridge.received.copy()[before:]]
    kinds = [frame["type"] for frame in frames if frame["type"] in ("request", "sendMsg")]
    assert kinds[0] == "request", "the mute"
    assert len(stage.mutes(seconds)) == 1


def test_a_waiting_job_says_behind_which_one_and_which_limit(stage: Stage, ask: Ask) -> None:
    ids = [name(f"job-{number}") for number in range(8)]
    stage.end_of(stage.send(name(), chat=to(OTHER_FRIEND), job_id=ids[0]))
    stage.bridge.faults.hold_verdicts = True  # however late it is asked for, the last one waits
    for job_id in ids[1:]:
        stage.send(name(), chat=to(OTHER_FRIEND), job_id=job_id)
    taken_in(stage, *ids)

    last = explanation(ask, ids[-1])
    assert last.startswith("ready: behind "), last
    assert "limit chat of the account's settings (30/m)" in last or "which is under way" in last
    assert any(job_id in last for job_id in ids[:-1])
    listed = json.loads(ask("jobs", "list", "--limit", "1", "--json").stdout)
    assert listed[0]["job_id"] == ids[-1]
    assert listed[0]["reason"].startswith("behind ")


def test_a_deferred_job_says_not_before_when(stage: Stage, ask: Ask) -> None:
    result = stage.send(name(), send_at="2999-01-02T03:04:05Z")
    taken_in(stage, result.id)
    assert explanation(ask, result.id) == "deferred: not before 2999-01-02 03:04:05 UTC"
    result.revoke()


def test_what_is_too_old_when_the_bridge_is_back_does_not_hold_up_what_is_not(stage: Stage) -> None:
    bridge, queue = stage.bridges["aged"], "worker68.aged"
    bridge.stop()
    old = [stage.send_task(SEND, queue, chat=GROUP_CHAT, text=name("old")) for _ in range(300)]
    stage.wait(lambda: stage.row(old[-1].id, "aged"))
    too_old_at = datetime.now(UTC) + timedelta(seconds=20)
    stage.wait(lambda: datetime.now(UTC) > too_old_at)

    bridge.start()
    stage.wait(lambda: bridge.connections == 1)
    fresh = name("fresh")
    reply = stage.end_of(stage.send_task(SEND, queue, chat=GROUP_CHAT, text=fresh))

    assert reply["status"] == "succeeded", "it did not become too old behind them"
    assert [sent.text for sent in bridge.sent] == [fresh]
    row = stage.row(old[-1].id, "aged")
    assert row is not None
    assert (row["status"], row["reason"]) == (
        "expired",
        "it had waited longer than the account's MAX_AGE when its turn came",
    )


def test_a_paused_account_writes_nothing_until_it_is_resumed(
    stage: Stage, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker68.cli.pause.ANSWER_SECONDS", PATIENCE_SECONDS)  # so long it waits for the owner's word
    words = name()
    paused = ask("pause", "main", "--reason", "the client shows a warning", "--json")
    assert (paused.exit_code, paused.stderr) == (0, "")
    facts = json.loads(paused.stdout)
    assert facts["seen_by"], "its owner has confirmed it"
    before = len(stage.bridge.received)

    waiting = stage.send(words)
    mute = stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=812)
    taken_in(stage, waiting.id, mute.id)
    stage.bridge.drop_connections()
    stage.wait(lambda: stage.bridge.connections == 1)
    # Written into the rows only once two looks have found it: by then it would have been sent long ago.
    stage.wait(lambda: (row := stage.row(waiting.id)) and "the client shows a warning" in (row["reason"] or ""))
    assert len(stage.bridge.received) == before, "not even the question for the API's address"
    for words_ in (explanation(ask, waiting.id), ask("check").stdout, *paused_in_top(ask)):
        assert "paused by " in words_
        assert "the client shows a warning" in words_

    resumed = ask("resume", "main", "--reason", "seen to")
    assert resumed.exit_code == 0
    assert "the client shows a warning" in resumed.stdout
    assert paused_in_top(ask) == []
    assert stage.end_of(waiting)["status"] == stage.end_of(mute)["status"] == "succeeded"
    assert stage.sent(words) == 1


def test_a_pause_outlives_workers(stage: Stage, ask: Ask) -> None:
    words = name()
    assert stage.worker.stop() == 0
    paused = ask("pause", "main", "--reason", "for the night")
    assert "no worker owns the account" in paused.stdout
    waiting = stage.send(words)
    stage.worker.start()
    stage.worker.wait_ready()
    taken_in(stage, waiting.id)
    stage.worker.wait_for_log("account_paused")
    assert stage.frames(words) == []
    assert "is paused by" in explanation(ask, waiting.id)

    assert ask("resume", "main", "--reason", "morning").exit_code == 0
    assert stage.end_of(waiting)["status"] == "succeeded"


def test_without_a_worker_jobs_say_so(stage: Stage, ask: Ask) -> None:
    stage.bridge.faults.hold_verdicts = True
    words = name()
    stage.send(words, chat=to(FRIEND))
    behind = stage.send(name(), chat=to(FRIEND))
    stage.wait(lambda: stage.frames(words) and stage.row(behind.id))
    assert stage.worker.quit() == 0  # SIGQUIT: the one under way is not waited for
    row = stage.row(behind.id)
    assert row is not None
    assert row["state"] == "ready"
    assert "no worker owns the account main" in explanation(ask, behind.id)
    stage.bridge.faults.clear()
    stage.worker.start()
    stage.worker.wait_ready()
    assert stage.end_of(behind)["status"] == "succeeded"


def test_a_cancel_is_in_time_until_the_slot(stage: Stage, ask: Ask) -> None:
    """A slot is granted up to two seconds ahead; a job that waits for it has not begun."""
    first, words, job_id = name(), name(), name("job")
    stage.end_of(stage.send(first))
    stage.send(words, job_id=job_id)
    taken_in(stage, job_id)
    done = ask("jobs", "cancel", job_id, "--reason", "called off")
    row = stage.row(job_id)
    assert row is not None
    if done.exit_code == 0:
        assert (row["status"], row["reason"], stage.frames(words)) == ("cancelled", "called off", [])
    else:
        assert "too late to cancel" in done.stderr


def test_what_was_cancelled_leaves_its_slots_to_the_next(stage: Stage, ask: Ask) -> None:
    assert ask("pause", "main", "--reason", "so that all of them wait").exit_code == 0
    cancelled = [stage.send(name(), chat=to(OTHER_FRIEND)) for _ in range(6)]
    words, others = name(), [name(), name()]
    last = stage.send(words, chat=to(OTHER_FRIEND))
    beside = [stage.send(other, chat=to(FRIEND)) for other in others]
    taken_in(stage, last.id, *(result.id for result in beside))
    revoked = [result.id for result in cancelled[:3]]
    told = revoke(stage.celery, revoked)
    assert told.removesuffix(" before") == f"{', '.join(revoked)}: 3 cancelled"
    for result in cancelled[3:]:
        assert ask("jobs", "cancel", result.id).exit_code == 0
        # The command does not wait for the worker to hear of it.
        stage.worker.wait_for_log("jobs_cancelled", result.id)

    assert ask("resume", "main", "--reason", "go on").exit_code == 0

    stage.wait_for_sent(others[1], 1)
    sent = [text for text in (one.text for one in stage.bridge.sent) if text in (words, *others)]
    assert sorted(sent[:2]) == sorted([words, others[0]]), "each chat's first slot; the cancelled would have had six"
    assert {stage.end_of(result)["status"] for result in (last, *beside)} == {"succeeded"}


def test_a_cancel_that_comes_too_late_says_so(stage: Stage, ask: Ask) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, gone = name(), stage.send(name(), send_at="2999-01-01T00:00:00Z")
    result = stage.send(words, chat=to(FRIEND))
    stage.wait(lambda: stage.frames(words))
    taken_in(stage, gone.id)

    ids = [result.id, gone.id, name("never")]
    rest = "1 too late: under way, or ended, 1 not seen yet, cancelled if it comes within 30 days"
    before = f"{', '.join(ids)}: 1 cancelled before, {rest}"
    assert revoke(stage.celery, ids) in (f"{', '.join(ids)}: 1 cancelled, {rest}", before)
    assert revoke(stage.celery, ids) == before
    late = ask("jobs", "cancel", result.id)
    assert (late.exit_code, late.stdout) == (1, "")
    assert "too late to cancel" in late.stderr
    again = ask("jobs", "cancel", gone.id)
    assert (again.exit_code, again.stderr) == (0, "")
    assert "was cancelled before" in again.stdout
    stage.bridge.faults.clear()
    assert stage.end_of(result)["status"] == "succeeded"


def test_a_busy_answer_slows_the_account_down_at_once(stage: Stage, ask: Ask) -> None:
    bridge = stage.bridges["hasty"]
    bridge.faults.busy_sends.set(ALWAYS)
    busy = stage.send(name(), queue="worker68.hasty")
    stage.wait(lambda: stage.redis.hget("worker68:pace:{hasty}", "pace"))
    row = stage.row(busy.id, "hasty")
    assert row is not None
    assert row["state"] != "ended", "long before the job has an outcome"
    assert "slowed down to " in ask("check").stdout
    bridge.faults.clear()
    assert stage.end_of(busy)["status"] == "succeeded"


def test_a_full_waiting_room_leaves_sends_in_redis_and_moderation_passes_them(stage: Stage) -> None:
    deferred = [stage.send(name(), send_at="2999-01-01T00:00:00Z") for _ in range(40)]
    taken_in(stage, *(result.id for result in deferred))
    crowd = [stage.send_task(SEND, "worker68", chat=GROUP_CHAT, text=name()) for _ in range(3)]
    stage.wait(lambda: stage.redis.llen("worker68.main") == 3)
    assert stage.redis.llen("worker68") == 0
    mutes = [
        stage.send_task(MUTE, queue, group_id=GROUP, user_id=MEMBER, seconds=60, options={"priority": priority})
        for queue in ("worker68", "worker68.main")
        for priority in (0, 3, 9)
    ]
    assert [stage.end_of(result)["status"] for result in mutes] == ["succeeded"] * 6
    assert stage.redis.llen("worker68.main") == 3
    assert [stage.row(result.id) for result in crowd] == [None] * 3

    stage.celery.control.revoke([result.id for result in deferred])
    assert [stage.end_of(result)["status"] for result in crowd] == ["succeeded"] * 3
    assert [stage.redis.hlen(key) for key in ("worker68:unacked", "worker68:unacked:main")] == [0, 0]
