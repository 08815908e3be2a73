"""Asking for jobs, waiting for them, looking at them and cancelling them, with a real worker at the other end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import COMMAND, Run
from tests.acceptance.conftest import GROUP, MEMBER, Stage, name
from tests.parts.worker import PATIENCE_SECONDS, environment

SEND = ("send", "--group", str(GROUP))
UNKNOWN_GROUP = 999_999


def test_a_send_that_is_waited_for(stage: Stage, ask: Run) -> None:
    words = name("hello")
    done = ask(*SEND, words, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("succeeded: message ")
    assert done.stdout.count("\n") == 1
    assert stage.sent(words) == 1


def test_a_send_that_is_not_waited_for_prints_its_id(stage: Stage, ask: Run) -> None:
    words, replies = name("hello"), name("replies")
    done = ask(*SEND, words, "--reply-to", replies)
    assert done.returncode == 0
    assert stage.take_reply(replies)["task_id"] == done.stdout.strip()
    assert stage.sent(words) == 1


def test_json_is_the_reply(stage: Stage, ask: Run) -> None:
    job_id = name("job")
    done = ask(*SEND, name("hello"), "--wait", "--json", "--job-id", job_id)
    reply = json.loads(done.stdout)
    assert (reply["job_id"], reply["status"], reply["attempts"]) == (job_id, "succeeded", 1)
    again = json.loads(ask(*SEND, "another text", "--wait", "--json", "--job-id", job_id).stdout)
    assert (again["status"], again["error"]["code"]) == ("failed", "conflict")


def test_a_job_that_fails_has_exit_code_1(ask: Run) -> None:
    done = ask("send", "--group", str(UNKNOWN_GROUP), "hello", "--wait")
    assert done.returncode == 1
    assert done.stdout.startswith("failed: refused 404: ")


def test_an_unknown_account_is_answered(ask: Run) -> None:
    done = ask(*SEND, "hello", "--account", "nobody", "--wait")
    assert done.returncode == 1
    assert done.stdout.startswith("failed: unknown_account: ")


def test_a_wait_that_is_over_says_how_to_look(stage: Stage, ask: Run) -> None:
    stage.bridge.faults.verdict = "swallowed"
    done = ask(*SEND, name("hello"), "--wait", "--timeout", "0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "goes on" in done.stderr
    look = done.stderr.partition("`worker68 ")[2].partition("`")[0].split()
    shown = stage.wait(lambda: (found := ask(*look, "--json")).returncode == 0 and found)
    assert json.loads(shown.stdout)["requesters"][0]["task_id"] == look[-1]


def test_mute_and_sync(stage: Stage, ask: Run) -> None:
    muted = ask("mute", "--group", "441298", "--user", str(MEMBER), "--seconds", "61", "--wait")
    assert (muted.returncode, muted.stdout[:10]) == (0, "succeeded:")
    assert len(stage.mutes(61)) == 1
    synced = json.loads(ask("sync", "groups", "--wait", "--json").stdout)
    assert synced["result"]["count"] == 3


def test_a_group_is_muted_and_told(stage: Stage, ask: Run) -> None:
    job_id, words = name("job"), name("quiet")
    muted = ask("mute", "--group", str(GROUP), "--all", "--text", words, "--job-id", job_id, "--wait")
    assert (muted.returncode, muted.stdout[:32]) == (0, "succeeded: muted, announcement: "), muted
    assert stage.bridge.world.groups[GROUP].muted
    assert stage.sent(words) == 1
    shown = ask("jobs", "show", job_id).stdout
    assert "2 of 2, the announcement; done before: muted" in shown
    assert words not in shown
    lifted = ask("mute", "--group", str(GROUP), "--off", "--no-announce", "--wait")
    assert (lifted.returncode, lifted.stdout[:20]) == (0, "succeeded: not muted")
    assert not stage.bridge.world.groups[GROUP].muted


def test_a_notice_of_two_lines_is_set_and_told(stage: Stage, ask: Run) -> None:
    words = f"{name('notice')}\nsecond line"
    done = ask("notice", "--group", str(GROUP), words, "--wait", "--json")
    assert json.loads(done.stdout)["result"]["announcement"]["message_id"]
    notice = stage.bridge.world.groups[GROUP].notice
    assert notice is not None
    assert notice.text == words
    assert len(stage.frames(words.replace("\n", "\\n"))) == 1


def test_a_list_of_a_group_and_who_is_online(ask: Run) -> None:
    group = ("--group", str(GROUP))
    for words, told in (
        (("members", *group), "count 4, added 4, removed 0, changed 0, "),
        (("online", *group, "--user", str(MEMBER), "--user", "4008697"), "checked 2 "),
    ):
        done = ask("sync", *words, "--wait")
        assert done.returncode == 0, done
        assert told in done.stdout


def test_a_call_in_own_words_and_what_is_not_permitted(ask: Run) -> None:
    call = ("request", "UserInfo", "/user/userInfo", "--wait", "--json")
    assert json.loads(ask(*call).stdout)["result"]["data"]["userInfo"]["uid"] == "4008697"
    refused = ask("request", "UserInfo", "/user/other", "--wait")
    assert (refused.returncode, refused.stdout[:22]) == (1, "failed: not_permitted:")


def test_a_restart_of_the_client(stage: Stage, ask: Run) -> None:
    done = ask("restart-client", "--wait")
    assert (done.returncode, done.stdout[:24]) == (0, "succeeded: restarted in "), done
    assert stage.bridge.connections == 1


def test_jobs_are_listed_newest_first(ask: Run) -> None:
    ids = [name("job") for _ in range(3)]
    for job_id in ids:
        ask(*SEND, name("hello"), "--job-id", job_id, "--wait")
    lines = json.loads(ask("jobs", "list", "--limit", "3", "--json", "--account", "main", "--state", "ended").stdout)
    assert [line["job_id"] for line in lines] == ids[::-1]
    table = ask("jobs", "list", "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["job", ids[2], ids[1]]
    assert ask("jobs", "list", "--account", "nobody-at-all").stdout == "no such jobs\n"


def test_a_job_is_shown_without_its_text_unless_that_is_wanted(ask: Run) -> None:
    job_id, words = name("job"), name("secret")
    ask(*SEND, words, "--job-id", job_id, "--wait")
    shown = ask("jobs", "show", job_id)
    assert shown.returncode == 0
    assert "succeeded: message" in shown.stdout
    assert words not in shown.stdout
    report = json.loads(ask("jobs", "show", job_id, "--json", LOG_CONTENT="true").stdout)
    assert report["fields"]["text"] == words
    assert report["job"]["status"] == "succeeded"
    assert [one["ending"] for one in report["attempts"]] == ["succeeded"]


def test_a_job_that_nobody_knows(ask: Run) -> None:
    done = ask("jobs", "show", name("nobody"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("by", ["job_id", "task_id"])
def test_a_waiting_job_is_cancelled(stage: Stage, ask: Run, by: str) -> None:
    job_id, words = name("job"), name("hello")
    result = stage.send(words, job_id=job_id, send_at="2999-01-01T00:00:00Z")
    stage.wait(lambda: (row := stage.row(job_id)) and row["state"] == "deferred")
    done = ask("jobs", "cancel", job_id if by == "job_id" else result.id, "--reason", "called off")
    assert (done.returncode, done.stdout) == (0, f"cancelled {job_id}\n")
    reply = stage.end_of(result)
    assert (reply["status"], reply["reason"], reply["revision"]) == ("cancelled", "called off", 1)
    row = stage.row(job_id)
    assert row is not None
    assert row["reason"] == "called off"
    again = ask("jobs", "cancel", job_id)
    assert (again.returncode, again.stderr) == (0, "")
    assert "was cancelled before" in again.stdout
    assert "called off" in again.stdout


def test_a_cancel_before_the_message(stage: Stage, ask: Run) -> None:
    task_id, words = name("task"), name("hello")
    done = ask("jobs", "cancel", task_id)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no job '{task_id}' yet" in done.stderr
    assert (
        stage.end_of(
            stage.send_task(
                "worker68.send_message", options={"task_id": task_id}, chat={"type": "group", "id": GROUP}, text=words
            )
        )["status"]
        == "cancelled"
    )
    assert stage.sent(words) == 0


def test_check_leaves_the_one_connection_alone(stage: Stage, ask: Run) -> None:
    stage.send(name("hello")).get(timeout=PATIENCE_SECONDS)
    done = ask("check", "--json")
    findings = {one["part"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {"redis", "database", "workers", "bridge of main"} <= set(findings)
    assert "holds its one connection" in findings["bridge of main"]["found"]
    assert stage.bridge.connections == 1


def test_a_reader_that_has_gone_is_no_error(stage: Stage) -> None:
    process = subprocess.Popen(
        [*COMMAND, "jobs", "list", "--json"],
        env=environment(stage.worker.settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as said:
        assert said.read() == b""
    process.wait(PATIENCE_SECONDS)


def test_without_a_worker_check_connects(command: Run, stage: Stage, redis_url: str, tmp_path: Path) -> None:
    settings = stage.worker.settings | {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
    with stage.cut_off("the command asks another Redis, where no worker has the account"):
        done = command("check", "--json", **settings)
        findings = {one["part"]: one for one in json.loads(done.stdout)}
        assert done.returncode == 1
        assert findings["bridge of main"] == {
            "part": "bridge of main",
            "ok": True,
            "warning": False,
            "found": f"{stage.bridge.url}: connected, Hello, logged in; from the settings",
            "remedy": None,
        }
        assert "worker68 db upgrade" in findings["database"]["found"]
        assert not (tmp_path / "new.db").exists()
        assert command("db", "upgrade", **settings).stdout.startswith("the database was empty, now it is at version ")
        assert command("db", "upgrade", **settings).stdout.endswith(" already\n")
        done = command("check", **settings)
    assert (done.returncode, "no worker runs" in done.stdout) == (1, True)
