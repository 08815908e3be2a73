"""A worker as a user of Redis that has the rights of docs/redis.md and no more, with and without those that may be missing."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, Stage, StageMaker, name
from tests.parts import acl
from tests.parts.worker import PATIENCE_SECONDS
from worker68.cli.main import main


def denials(stage: Stage) -> list[tuple[str, str]]:
    """Return what Redis has denied: the reason and the command, key or channel."""
    entries: Any = stage.redis.execute_command("ACL", "LOG")
    fields = [
        dict(zip(entry[::2], entry[1::2], strict=True)) if isinstance(entry, list) else entry for entry in entries
    ]
    return sorted({(entry["reason"], entry["object"]) for entry in fields})


@pytest.mark.parametrize("missing", ["nothing", "what may be missing"])
def test_a_worker_works_with_the_rights_of_the_page(make_stage: StageMaker, missing: str) -> None:
    stage = make_stage(MAX_WAITING=5)
    lines = acl.lines_of_page()
    acl.make_user(stage.redis, lines if missing == "nothing" else lines[:-1])
    stage.worker.settings["REDIS_URL"] = url = acl.url_of(stage.redis_server.url)
    stage.worker.start()
    stage.worker.wait_ready()

    assert (
        stage.end_of(stage.send_task(SEND, "worker68", chat=GROUP_CHAT, text=name(), reply_to="list"))["status"]
        == "succeeded"
    )
    assert stage.take_reply("list")["status"] == "succeeded"
    assert stage.end_of(stage.send(name(), reply_to="stream:s", options={"priority": 3}))["status"] == "succeeded"
    stage.wait(lambda: stage.stream("s"))
    stage.push("junk")
    stage.wait(lambda: stage.dead("junk"))
    deferred = [stage.send(name(), send_at="2999-01-01T00:00:00Z") for _ in range(5)]
    stage.wait(lambda: all(stage.row(result.id) for result in deferred))
    crowd = stage.send_task(SEND, "worker68", chat=GROUP_CHAT, text=name())
    stage.wait(lambda: stage.redis.llen("worker68.main") == 1)
    mute = stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=60)
    assert stage.end_of(mute)["status"] == "succeeded"
    user = Celery("user", broker=url, backend=url, set_as_current=False)
    try:
        assert user.control.ping(timeout=PATIENCE_SECONDS, limit=1)
        user.control.revoke([result.id for result in deferred])
    finally:
        user.close()
    assert stage.end_of(crowd)["status"] == "succeeded"
    env = {f"WORKER68_{key}": str(value) for key, value in stage.worker.settings.items()}
    checked = CliRunner(env=env).invoke(main, ["check", "--json"])
    (found,) = [one for one in json.loads(checked.stdout) if one["part"] == "redis"]

    assert found["ok"], found
    if missing == "nothing":
        # Redis 6.2 has no CLIENT SETINFO, which redis-py tries and does without.
        assert set(denials(stage)) <= {("command", "client")}
        assert int(stage.redis.info("clients")["tracking_clients"]) >= 1
        assert "done without" not in found["found"]
    else:
        assert {what for _, what in denials(stage)} <= {"client", "info"}
        assert all(right in found["found"] for right in ("CLIENT SETNAME", "CLIENT TRACKING", "INFO"))
    assert "Traceback" not in stage.worker.log


def test_a_queue_that_redis_refuses_costs_no_other_account_anything(make_stage: StageMaker) -> None:
    stage = make_stage(accounts={"second": {}})
    others = "~worker68 ~worker68:* ~worker68.main* ~celery* ~_kombu.* ~*.celery.pidbox* ~unacked*"
    acl.make_user(stage.redis, [*acl.lines_of_page(), f"resetkeys {others}"])
    stage.worker.settings["REDIS_URL"] = acl.url_of(stage.redis_server.url)
    stage.worker.start()
    stage.worker.wait_ready()
    stuck = stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=name())

    stage.wait(lambda: "intake_refused" in stage.worker.log)
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.redis.llen("worker68.second") == 1

    acl.make_user(stage.redis, acl.lines_of_page())
    assert stage.end_of(stuck)["status"] == "succeeded"
    assert "worker68.second" in stage.worker.log
    assert "scheduler_failed" not in stage.worker.log


@pytest.mark.parametrize(("rule", "named"), [("-evalsha", "'evalsha'"), ("-time", "the right to TIME")])
def test_without_scripts_a_worker_says_in_one_line_why_it_does_not_start(
    make_stage: StageMaker, rule: str, named: str
) -> None:
    """Celery's own scripts would fail as well, with a traceback."""
    stage = make_stage()
    acl.make_user(stage.redis, [*acl.lines_of_page(), rule])
    stage.worker.settings["REDIS_URL"] = acl.url_of(stage.redis_server.url)
    stage.worker.start()
    assert stage.worker.wait_for_end() == 2
    (line,) = [line for line in stage.worker.log_since_start.splitlines() if line.startswith("worker68:")]
    assert named in line
    assert "docs/redis.md" in line
    assert "Traceback" not in stage.worker.log_since_start
