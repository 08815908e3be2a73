"""Every table of every command can be read at 80 and at 120 columns, and its short ids are taken by every command."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result
from rich.text import Text
from sqlalchemy import func, select

from tests.integration.cli.conftest import Run
from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.lists import GROUP, Lists, contacts, member
from tests.parts.worker import PATIENCE_SECONDS
from worker68.cli import output
from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, failed
from worker68.jobs.snapshot import GROUP_MEMBERS
from worker68.observe.roster import AccountStatus, Roster, WorkerStatus
from worker68.store import pauses, waiting
from worker68.store.accounts import change_account
from worker68.store.engine import reading
from worker68.store.statements import attempts
from worker68.store.tables import cancellations

Ask = Callable[..., Result]

WORKER = "a-host-with-a-long-name.example.org-3f2a9c01d7e4"
REASON = "limit chat of the account's settings (20/m)"
LONG_ID = "invoice-of-the-customer-with-a-long-name-2026-11-29-000047110815"


@pytest.fixture
def ask(run: Run, redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command on a terminal so wide; with 0 into a pipe."""

    def ask(width: int, *words: str) -> Result:
        monkeypatch.setattr(output, "WIDTH_WITHOUT_TERMINAL", width or 100_000)
        settings = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": sqlite_url,
            "BRIDGE_URL": "ws://127.0.0.1:1",
            "LIMITS": "off",
        }
        return run(*words, **settings)

    return ask


@pytest.fixture
def backlog(ledger: Ledger, client: redis.Redis) -> list[Job]:
    """Two lanes of eleven jobs each, in turns, and why the first of each waits."""
    client.set("worker68:lease:account:main", f"{WORKER}|1")
    chats = [{"type": "group", "id": 2**62 + number % 2} for number in range(22)]
    jobs = ledger.arrive(
        *(message(kwargs=send_fields(chat=chat), task_id=str(uuid.uuid4())) for chat in chats), now=utc_now()
    )
    waiting.write_reasons(ledger.engine, {jobs[0].seq: REASON, jobs[1].seq: "the bridge is away"}, utc_now())
    return jobs


def back_off(ledger: Ledger, job: Job, until: dt.datetime) -> None:
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, "busy", "the service is busy", NOW))


def put_account(ledger: Ledger, name: str, settings: Any) -> None:
    change_account(ledger.engine, name, lambda rows: settings, "ann", NOW)


def fill(ledger: Ledger, client: redis.Redis) -> None:
    """Let there be rows of all kinds, as long as they get."""
    for fields in (
        {"job_id": LONG_ID},
        {"job_id": "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57", "send_at": "2999-01-01T00:00:00Z"},
        {"account": "other", "job_id": "短" * 100},
    ):
        ledger.arrive(message(kwargs=send_fields(**fields), task_id=str(uuid.uuid4())))
    begun = ledger.send(chat={"type": "friend", "id": 2**63 - 1})
    ledger.settle(ledger.must_begin(begun), failed(ErrorCode.REFUSED, "no " * 200, 4711))
    ledger.must_begin(ledger.send(chat={"type": "friend", "id": 5}))
    pauses.pause(ledger.engine, "other", "the client shows a warning " * 5, "ann@a-host-with-a-name", NOW)
    lists = Lists(ledger)
    lists.see(contacts(1, 2))
    lists.see([member(1)], GROUP_MEMBERS, group=GROUP, announced=7)
    client.rpush("worker68:dead", json.dumps({"reason": "why " * 60, "queue": f"worker68.{'a' * 64}", "message": "{}"}))
    client.rpush("worker68:dead", "not an entry")
    client.lpush(f"worker68.{'z' * 64}", message())
    client.set("worker68:lease:account:main", f"{WORKER}|1")
    for name, settings in {
        "a" * 64: {
            "bridge_url": "wss://user:secret@" + "bridge-of-the-shop." * 5 + "example:5600/path",
            "label": "b" * 64,
        },
        "wrong": {"bridge_url": "ws://127.0.0.1:1/", "max_aeg": 5},
    }.items():
        client.set(f"worker68:lease:account:{name}", f"{WORKER}|1")
        put_account(ledger, name, settings)
    now = utc_now()
    account = AccountStatus("bridge not reachable: " + "x" * 100, 2**40, 2**40, 1234567.8, {})
    Roster(client).report(WorkerStatus(WORKER, 2**22, now, now, "scheduler: " + "y" * 100, True, {"main": account}))


COMMANDS = (
    ("jobs", "list"),
    ("jobs", "list", "--state", "ready"),
    ("jobs", "list", "--state", "deferred"),
    ("jobs", "list", "--state", "sending"),
    ("jobs", "list", "--status", "failed"),
    ("jobs", "show", LONG_ID),
    ("jobs", "show", "短" * 100),
    ("top", "--once"),
    ("check",),
    ("accounts", "list"),
    ("dead", "list"),
    ("snapshots", "list"),
    ("snapshots", "show", "2"),
    ("snapshots", "diff", "1"),
)
#: What is meant to be copied as it is, and the names of things that have no shorter ones.
VERBATIM = ("fields:", "content:", "job:", "custom_msg_id:")


@pytest.mark.parametrize("width", [80, 120])
def test_every_table_fits(ask: Ask, ledger: Ledger, client: redis.Redis, backlog: list[Job], width: int) -> None:
    fill(ledger, client)
    for words in COMMANDS:
        done = ask(width, *words)
        assert done.stderr == "", words
        assert done.exit_code == (1 if words == ("check",) else 0), (words, done)
        lines = [line for line in done.stdout.splitlines() if not line.startswith(VERBATIM)]
        assert len(lines) > 1
        assert [line for line in lines if Text(line).cell_len > width] == [], words


def test_no_command_prints_a_table_that_is_not_looked_at() -> None:
    folder = Path(output.__file__).parent
    prints = {path.stem for path in folder.rglob("*.py") if re.search(r"(print|make)_table\(", path.read_text())}
    looked_at = {"accounts", "output", "check", "dead", "joblist", "jobs", "snapshots", "top", "show", "command"}
    assert prints == looked_at, "COMMANDS, the demo, and the probe"


def test_a_terminal_says_how_wide_it_is(ledger: Ledger, sqlite_url: str) -> None:
    job = ledger.arrive(
        message(kwargs=send_fields(chat={"type": "friend", "id": 2**63 - 1}), task_id=str(uuid.uuid4()))
    )[0]
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "worker68", "jobs", "list"]
    process = subprocess.Popen(
        command, env=kept | {"WORKER68_DATABASE_URL": sqlite_url, "TERM": "dumb"}, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    with os.fdopen(ours, "rb", closefd=True) as terminal:
        drawn = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while part := terminal.read1(4096):
                drawn += part
    assert process.wait(PATIENCE_SECONDS) == 0
    lines = drawn.decode().splitlines()
    assert any(line.startswith(f"{job.job_id[:8]} ") for line in lines)
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_what_explains_comes_first(ask: Ask, backlog: list[Job], width: int) -> None:
    summary, _, table = ask(width, "jobs", "list", "--state", "ready").stdout.partition("\n\n")
    lines = [" ".join(line.split()) for line in summary.splitlines()]
    assert lines[1].startswith("main 22 22 ready; the oldest ready one has waited for ")
    assert sorted(lines[2:]) == [f"11 {REASON}", "11 the bridge is away"]
    rows = table.splitlines()
    first, second = (job.job_id[:8] for job in backlog[:2])
    assert [row.split()[0] for row in rows if row[0] != " "][:4] == ["job", first, second, backlog[2].job_id[:8]]
    assert rows[2].strip() == REASON
    assert len(rows) == 1 + 2 * 2 + 20, "a line for each that only waits for the first of its lane"
    assert all(f"+{number} {first}" in table for number in range(1, 11))


@pytest.mark.parametrize("width", [0, 80, 120])
def test_each_short_id_is_taken_by_every_command(
    ask: Ask, ledger: Ledger, client: redis.Redis, backlog: list[Job], width: int
) -> None:
    fill(ledger, client)
    table = ask(width, "jobs", "list", "--limit", "100").stdout.partition("\n\n")[2]
    ids = [line.split()[0] for line in table.splitlines()[1:] if line[0] != " "]
    known = {row.job_id for row in ledger.rows()}
    shown = {json.loads(ask(width, "jobs", "show", id_, "--json").stdout)["job"]["job_id"] for id_ in ids}
    assert shown == known
    done = ask(width, "jobs", "cancel", backlog[5].job_id[:8])
    assert (done.exit_code, done.stdout) == (0, f"cancelled {backlog[5].job_id}\n")
    if width == 0:
        assert set(ids) == known, "a program that reads a pipe gets whole ids"


def test_a_row_stays_in_one_line_in_a_pipe(ask: Ask, backlog: list[Job]) -> None:
    table = ask(0, "jobs", "list", "--state", "ready").stdout.partition("\n\n")[2]
    rows = table.splitlines()
    assert len(rows) == 23
    assert rows[1].startswith(backlog[0].job_id)
    assert rows[1].endswith(REASON)


def test_json_has_whole_ids_and_whole_reasons(ask: Ask, backlog: list[Job]) -> None:
    lines = json.loads(ask(80, "jobs", "list", "--state", "ready", "--json").stdout)
    assert [line["job_id"] for line in lines[:2]] == [job.job_id for job in backlog[:2]]
    assert lines[2]["reason"] == f"behind {backlog[0].job_id}, which waits: {REASON}"


def test_what_backs_off_comes_before_what_is_behind_it(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    client.set("worker68:lease:account:main", f"{WORKER}|1")
    first, second = ledger.arrive(message(), message())
    back_off(ledger, first, utc_now() + dt.timedelta(hours=1))
    table = ask(80, "jobs", "list", "--state", "ready").stdout
    assert "2     the service is busy" in table
    assert f"behind {first.job_id}, which waits: the service is busy" in " ".join(table.split())
    assert second.job_id in table


ONE, TWO = "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57", "7b1f0c9e-4a53-4a53-9d0f-6f3f6a2e1f57"


@pytest.mark.parametrize(
    ("given", "named"),
    [("7b1f0c", [ONE, TWO]), ("order-", ["order-1", "order-2"]), ("twice", ["main", "other"]), ("@1", ["@1", "@2"])],
)
@pytest.mark.parametrize("words", [("show",), ("cancel",)])
def test_an_id_that_may_be_several_lists_them(
    ask: Ask, ledger: Ledger, words: tuple[str, ...], given: str, named: list[str]
) -> None:
    for job_id in ("first", "@1", ONE, TWO, "order-1", "order-2", "twice"):
        ledger.send(job_id=job_id)
    ledger.send(job_id="twice", account="other")
    done = ask(80, "jobs", *words, given)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(name in done.stderr for name in named)
    assert {row.state for row in ledger.rows()} == {"ready"}


def test_a_whole_id_counts_before_the_beginning_of_another(ask: Ask, ledger: Ledger) -> None:
    for job_id in ("order-1", "order-11"):
        ledger.send(job_id=job_id)
    assert json.loads(ask(80, "jobs", "show", "order-1", "--json").stdout)["job"]["job_id"] == "order-1"
    assert ask(80, "jobs", "show", "order-2").exit_code == 1
    assert ask(80, "jobs", "show", "@4711").exit_code == 1
    assert ask(80, "jobs", "show", f"@{'9' * 40}").exit_code == 1
    assert ask(80, "jobs", "show", "orde").exit_code == 1, "too short to be meant"


def test_a_number_that_no_job_has_is_not_kept_for_a_message_to_come(ask: Ask, ledger: Ledger) -> None:
    done = ask(80, "jobs", "cancel", "@4711")
    assert (done.exit_code, done.stderr) == (1, "worker68: no job '@4711' in this database\n")
    with reading(ledger.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(cancellations)) == 0


def test_an_empty_database_says_so(ask: Ask, ledger: Ledger) -> None:
    for words in (("list",), ("list", "--state", "ready"), ("list", "--status", "failed")):
        done = ask(80, "jobs", *words)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "no such jobs\n", "")


@pytest.mark.parametrize("words", [("jobs", "list"), ("jobs", "show", "x"), ("jobs", "cancel", "x")], ids=" ".join)
def test_a_database_that_is_not_there_is_one_line(ask: Ask, words: tuple[str, ...]) -> None:
    done = ask(80, *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "worker68 db upgrade" in done.stderr


def test_a_redis_that_does_not_answer_is_one_line_or_a_reason(
    ask: Ask, ledger: Ledger, run: Run, sqlite_url: str
) -> None:
    ledger.send()
    away = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": sqlite_url}
    done = run("top", "--once", **away)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    done = run("jobs", "list", **away)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "nothing starts without Redis" in done.stdout


def test_a_key_of_another_type_does_not_hide_the_others(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    client.set("worker68.main", "no list")
    client.lpush("worker68.main:3", message())
    done = ask(80, "top", "--once", "--json")
    assert (done.exit_code, json.loads(done.stdout)["accounts"][0]["queued"]) == (0, 1)


def test_a_worker_that_does_not_report_is_not_shown_as_ok(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    """One whose process is stopped: its last report stays for a minute."""
    for worker, seconds in (("stopped", 12), ("running", 4)):
        told_at = utc_now() - dt.timedelta(seconds=seconds)
        Roster(client).report(WorkerStatus(worker, 1, told_at, told_at, None, False, {}))
    rows = [line.split() for line in ask(120, "top", "--once").stdout.splitlines()]
    health = {row[0]: row[3] for row in rows if row and row[0] in ("stopped", "running")}
    assert health == {"stopped": "silent", "running": "ok"}
    problems = json.loads(ask(120, "top", "--once", "--json").stdout)["problems"]
    (problem,) = [one for one in problems if one.startswith("worker ")]
    assert problem.startswith("worker stopped: its last report is ")


def test_top_marks_the_accounts_of_the_database(ask: Ask, ledger: Ledger) -> None:
    for number in range(12):
        put_account(ledger, f"shop{number}", {"bridge_url": f"ws://127.0.0.1:{number + 100}"})
    lines = ask(80, "top", "--once").stdout.splitlines()
    assert "* from the database: worker68 accounts" in lines
    assert sum("shop" in line and " * " in line for line in lines) == 12
    assert not any(line.split()[:2] == ["main", "*"] for line in lines)


def test_top_without_a_database_says_so_among_the_problems(ask: Ask) -> None:
    done = ask(80, "top", "--once")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "worker68 db upgrade" in " ".join(done.stdout.split())
