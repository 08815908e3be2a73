"""The demo's stage starts all parts or none, gives the worker settings that it takes, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.parse import urlsplit

import pytest

from tests.integration.simulator.peer import connected
from tests.parts.environment import Environment
from tests.parts.worker import wait_until
from worker68.cli.demo import stage as module
from worker68.cli.demo.stage import Stage, WorkerFailed, forget_settings

Program = Callable[[str], None]

#: A worker that does nothing until it is ended.
IDLE = "exec sleep 60"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Let this shell script be what runs in place of a worker."""

    def write(script: str) -> None:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(module, "sys", SimpleNamespace(executable=str(path)))

    return write


def quiet(*_: object) -> None:
    """Hear what the stage announces, and give nothing up."""


def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 1), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def check_nothing_is_left(stage: Stage, announced: list[str], folder: Path) -> None:
    """All parts of which the stage has spoken have ended, and no file is left."""
    assert list(folder.iterdir()) == []
    assert not listens(stage.redis.url)
    assert not listens(stage.bridge.url)
    for pid in [int(line.rpartition(" ")[2]) for line in announced if line.startswith("worker ")]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_between_redis_database_and_bridge(
    folder: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    program(f'(echo "$@"; env) >{said}.part; mv {said}.part {said}; {IDLE}')
    announced: list[str] = []
    with Stage(announced.append, quiet) as stage:
        wait_until(said.exists)
        words, *variables = said.read_text().splitlines()
        environment = {name: value for name, _, value in (line.partition("=") for line in variables)}
        own = {name: value for name, value in environment.items() if name.startswith("WORKER68_")}
        settings = Environment(monkeypatch, tmp_path).load(
            **{name.removeprefix("WORKER68_"): value for name, value in own.items()}
        )
        database = Path(settings.database_url.removeprefix("sqlite:///"))
        assert words == "-m celery -A worker68 worker"
        assert Path(environment["PYTHONPATH"].partition(os.pathsep)[0], "worker68", "app.py").exists()
        assert (settings.redis_url, settings.account_settings()["main"].bridge_url) == (
            stage.redis.url,
            stage.bridge.url,
        )
        assert database.exists()
        assert folder in database.parents
        assert listens(stage.redis.url)
        stage.check_worker()
    parts = [line.partition(" ")[0] for line in announced]
    assert parts == ["Redis", "database", "bridge", "worker"]
    assert "SIMULATOR" in announced[2]
    assert stage.worker_exit_code == -signal.SIGTERM, "it was asked to end, and did"
    check_nothing_is_left(stage, announced, folder)


def test_it_is_ready_once_bridge_and_remote_control_hear_the_worker(
    folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(IDLE)
    monkeypatch.setattr(module, "START_SECONDS", 0.1)
    answers = iter([False, True])
    with Stage(quiet, quiet) as stage:
        with pytest.raises(WorkerFailed, match=r"not ready within 0\.1 s; it said: nothing"):
            stage.wait_until_ready(lambda: True)
        with connected(stage.bridge), pytest.raises(WorkerFailed, match="not ready"):
            stage.wait_until_ready(lambda: False)
        monkeypatch.setattr(module, "START_SECONDS", 60.0)
        with connected(stage.bridge):
            stage.wait_until_ready(lambda: next(answers))
    assert list(answers) == []


def test_a_worker_that_ends_is_not_waited_for(folder: Path, program: Program) -> None:
    program("for word in one two three four; do echo $word; done; exit 3")
    with Stage(quiet, quiet) as stage, pytest.raises(WorkerFailed) as failed:
        stage.wait_until_ready(lambda: True)
    assert str(failed.value) == "the worker ended with code 3; it said: two | three | four"
    assert stage.worker_exit_code == 3


@pytest.mark.parametrize("number", [1, 4])
def test_a_start_that_is_given_up_leaves_nothing(folder: Path, program: Program, number: int) -> None:
    program(IDLE)
    announced: list[str] = []

    def check() -> None:
        if len(announced) == number:
            raise SystemExit

    stage = Stage(announced.append, check)
    with pytest.raises(SystemExit), stage:
        pytest.fail("it has started")
    assert len(announced) == number
    check_nothing_is_left(stage, announced, folder)


def test_settings_of_worker68_and_celery_are_forgotten_and_nothing_else() -> None:
    read = ("WORKER68_LIMITS", "CELERY_BROKER_URL", "BROKER_URL", "RESULT_BACKEND", "CELERY_LOADER")
    kept = {"HOME": "/somewhere", "WORKER": "68", "BROKER_URLS": "x"}
    with mock.patch.dict(os.environ, dict.fromkeys(read, "x") | kept, clear=True):
        forget_settings()
        assert dict(os.environ) == kept
