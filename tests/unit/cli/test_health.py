"""``worker68 health``: the age of a file, and what is asked wrongly; never a slow import."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest

from tests.unit.cli.conftest import imported_by
from worker68.cli import health


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WORKER68_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "health"
    monkeypatch.setenv("WORKER68_HEALTH_FILE", str(file))
    return file


def test_a_fresh_file_is_health(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.touch()
    assert health.main(as_json=False) == 0
    assert capsys.readouterr().out.startswith("healthy: ")


def test_an_old_file_is_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.touch()
    os.utime(file, (time.time() - 60, time.time() - 60))
    assert health.main(as_json=False) == 1
    said = capsys.readouterr()
    assert re.search(r"touched \d\d s ago", said.err)
    assert said.out == ""


def test_a_file_that_is_off_is_not_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER68_HEALTH_FILE", "off")
    assert health.main(as_json=False) == 2
    assert "is set" in capsys.readouterr().err


def test_no_file_is_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(as_json=True) == 1
    assert '"healthy": false' in capsys.readouterr().out


def test_the_file_may_be_named_in_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "health").touch()
    config = tmp_path / "worker68.toml"
    config.write_text(f'health_file = "{tmp_path / "health"}"\n')
    monkeypatch.setenv("WORKER68_CONFIG", str(config))
    assert health.main(as_json=False) == 0
    monkeypatch.setenv("WORKER68_HEALTH_FILE", str(tmp_path / "other"))
    assert health.main(as_json=False) == 1


@pytest.mark.parametrize("config", ["/nowhere/worker68.toml", None])
def test_nothing_to_look_at_is_asked_wrongly(
    config: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if config:
        monkeypatch.setenv("WORKER68_CONFIG", config)
    assert health.main(as_json=False) == 2
    assert "WORKER68_" in capsys.readouterr().err


def test_a_url_that_no_worker_takes_is_asked_wrongly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER68_REDIS_URL", "redis://:secret@127.0.0.1:1/first")
    assert health.main(as_json=False) == 2
    said = capsys.readouterr().err
    assert said.startswith("worker68: WORKER68_REDIS_URL: expected redis://")
    assert "secret" not in said


def test_a_redis_that_is_away_is_no_health(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORKER68_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    assert health.main(as_json=False) == 1
    said = capsys.readouterr().err
    assert "Redis does not answer" in said
    assert "hunter2" not in said


def test_somebody_who_speaks_otherwise_is_no_redis(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WORKER68_REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}")
        assert health.main(as_json=False) == 1
    assert "timed out" in capsys.readouterr().err


def test_it_takes_no_slow_library(file: Path) -> None:
    file.touch()
    slow = {"celery", "kombu", "sqlalchemy", "pydantic", "redis", "click", "structlog", "rich"}
    assert not slow & imported_by("health")
