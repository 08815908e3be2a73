"""Parts that are away: one line within a few seconds, which says which one and what to do, and exit code 1."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import COMMAND, NOWHERE, Run
from tests.parts.worker import PATIENCE_SECONDS, environment
from worker68.embedded import EmbeddedRedis


def check_one_line(done: subprocess.CompletedProcess[str], setting: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert setting in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("wait", [(), ("--wait",)], ids=["send", "send --wait"])
def test_redis_away(command: Run, wait: tuple[str, ...]) -> None:
    check_one_line(command("send", "--group", "1", "hello", *wait, **NOWHERE), "WORKER68_REDIS_URL")


def test_redis_hangs(command: Run, redis_server: EmbeddedRedis, redis_url: str) -> None:
    redis_server.pause()
    check_one_line(command("send", "--group", "1", "hello", REDIS_URL=redis_url), "WORKER68_REDIS_URL")


@pytest.mark.parametrize("words", [("db", "upgrade"), ("jobs", "list"), ("jobs", "show", "x"), ("jobs", "cancel", "x")])
def test_database_away(command: Run, words: tuple[str, ...]) -> None:
    check_one_line(command(*words, **NOWHERE), "WORKER68_DATABASE_URL")


def test_database_without_tables(command: Run, postgres_url: str) -> None:
    check_one_line(command("jobs", "list", DATABASE_URL=postgres_url), "worker68 db upgrade")


def test_check_says_it_of_each_part(command: Run) -> None:
    done = command("check", "--json", **NOWHERE)
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(one["part"], one["ok"]) for one in findings] == [
        ("redis", False),
        ("database", False),
        ("bridge of main", False),
    ]
    assert "secret" not in done.stdout


def test_a_taken_port(command: Run, redis_url: str) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    check_one_line(command("simulator", "--port", port), port)


@pytest.mark.parametrize("words", [("demo",), ("simulator", "--port", "0"), ("--help",)], ids=" ".join)
def test_an_installation_without_the_simulator(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "websockets.py").write_text(
        "raise ModuleNotFoundError('No module named websockets', name='websockets')"
    )
    usual = environment({})
    done = subprocess.run(
        [*COMMAND, *words],
        env=usual | {"PYTHONPATH": os.pathsep.join([str(tmp_path), usual["PYTHONPATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if words == ("--help",):
        assert (done.returncode, done.stderr) == (0, "")
    else:
        check_one_line(done, "pip install 'worker68[simulator]'")
