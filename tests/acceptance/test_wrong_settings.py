"""A wrong setting: one line that names it, exit code 2, no traceback, whichever way the worker is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.parts.postgres import PostgresServer
from tests.parts.worker import CELERY, WORKER68, environment

GOOD = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "BRIDGE_URL": "ws://127.0.0.1:1",
    "DATABASE_URL": "sqlite:///worker68.db",
}

WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no Redis": ({"REDIS_URL": None}, "WORKER68_REDIS_URL"),
    "a Redis URL of another kind": ({"REDIS_URL": "amqp://127.0.0.1"}, "WORKER68_REDIS_URL"),
    "a Redis URL with a query": ({"REDIS_URL": "redis://127.0.0.1:1/0?socket_timeout=5"}, "WORKER68_REDIS_URL"),
    "an empty variable": ({"BRIDGE_URL": ""}, "WORKER68_BRIDGE_URL"),
    "no account": ({"BRIDGE_URL": None}, "WORKER68_BRIDGE_URL"),
    "a bridge URL of another kind": ({"BRIDGE_URL": "http://127.0.0.1:5600"}, "WORKER68_BRIDGE_URL"),
    "a length of time": ({"VERDICT_TIMEOUT": "soon"}, "WORKER68_VERDICT_TIMEOUT"),
    "a length below zero": ({"LEASE_TTL": "-1"}, "WORKER68_LEASE_TTL"),
    "a count": ({"CONCURRENCY": "0"}, "WORKER68_CONCURRENCY"),
    "a choice": ({"CONFIRM": "hope"}, "WORKER68_CONFIRM"),
    "a limit": ({"LIMITS": '{"account": "60 per minute"}'}, "WORKER68_LIMITS"),
    "no JSON": ({"ACCOUNTS": "{main}"}, "WORKER68_ACCOUNTS"),
    "an account's name": ({"ACCOUNTS": '{"Main": {"bridge_url": "ws://h:1"}}'}, "WORKER68_ACCOUNTS"),
    "an account's field": ({"ACCOUNTS": '{"b": {"bridge_url": "ws://h:1", "limit": {}}}'}, "limit"),
    "a file that is not there": ({"CONFIG": "/nowhere/worker68.toml"}, "WORKER68_CONFIG"),
    "a database of another kind": ({"DATABASE_URL": "mysql://h/d"}, "DATABASE_URL"),
    "a database in memory": ({"DATABASE_URL": "sqlite://"}, "DATABASE_URL"),
    "a database URL with a query": ({"DATABASE_URL": "postgresql://h/d?timeout=5"}, "DATABASE_URL"),
    "no database URL": ({"DATABASE_URL": "worker68.db"}, "DATABASE_URL"),
    "a health file that cannot be made": ({"HEALTH_FILE": "/nowhere/health"}, "WORKER68_HEALTH_FILE"),
    "the password of a wrong URL": ({"REDIS_URL": "http://:hunter2@127.0.0.1"}, "WORKER68_REDIS_URL"),
}


def run(command: tuple[str, ...], changes: dict[str, str | None], folder: Path) -> subprocess.CompletedProcess[str]:
    # As root, Celery adds a warning of its own.
    quiet = {"PYTHONWARNINGS": "ignore"}
    settings = {setting: value for setting, value in {**GOOD, **changes}.items() if value is not None}
    return subprocess.run(
        command, env=environment(settings) | quiet, cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("case", WRONG)
def test_celery_says_it_in_one_line(case: str, tmp_path: Path) -> None:
    changes, named = WRONG[case]

    ended = run(CELERY, changes, tmp_path)

    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert named in lines[0]
    assert lines[0].startswith("worker68: ")
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize("case", ["no Redis", "a choice", "a database of another kind"])
def test_the_worker_command_says_the_same(case: str, tmp_path: Path) -> None:
    changes, named = WRONG[case]

    ended = run(WORKER68, changes, tmp_path)

    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert named in ended.stderr


@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_another_pool_is_refused_in_one_line(pool: str, tmp_path: Path) -> None:
    ended = run((*WORKER68, "--pool", pool), {}, tmp_path)

    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert "leave out the option --pool" in ended.stderr


def test_a_database_of_another_encoding_is_refused_as_well(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.ensure_running()
    with postgres_server.database(encoding="LATIN1") as url:
        for command in (WORKER68, (*WORKER68[:-1], "db", "upgrade")):
            ended = run(command, {"DATABASE_URL": url}, tmp_path)
            (line,) = ended.stderr.strip().splitlines()
            assert ended.returncode in (1, 2)
            assert "has the encoding LATIN1" in line


@pytest.mark.parametrize("option", ["--autoscale=9,1", "-Q=worker68.main", "-X=worker68", "-Q=elsewhere"])
def test_an_option_of_celerys_of_which_nothing_would_come_is_refused(option: str, tmp_path: Path) -> None:
    ended = run((*WORKER68, *option.split("=")), {}, tmp_path)

    assert ended.returncode == 2
    assert option.split("=")[0] in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
