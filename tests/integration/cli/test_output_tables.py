"""Every table of every command can be read at 80 and at 120 columns; a pipe and JSON get whole ids."""

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
from pathlib import Path

import pytest
import redis
from rich.text import Text

from tests.integration.cli.conftest import LONG_ID, REASON, WORKER, Ask, Run, fill
from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.worker import PATIENCE_SECONDS
from worker68.cli import output
from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.store.statements import attempts


def back_off(ledger: Ledger, job: Job, until: dt.datetime) -> None:
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, "busy", "the service is busy", NOW))


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


def test_an_empty_database_says_so(ask: Ask, ledger: Ledger) -> None:
    for words in (("list",), ("list", "--state", "ready"), ("list", "--status", "failed")):
        done = ask(80, "jobs", *words)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "no such jobs\n", "")


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
