"""``worker68`` takes the short way to ``worker`` and ``health``, and becomes Celery's worker with its options and exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker68
from tests.unit.cli.conftest import Became
from worker68.cli import start

Call = Callable[..., Any]

#: Without settings from outside, and with the log as it was afterwards.
pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Start ``worker68`` in this process with these words; return its exit code."""

    def call(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["worker68", *words])
        with pytest.raises(SystemExit) as end:
            start.main()
        return end.value.code

    return call


@pytest.mark.parametrize("options", [(), ("-n", "sender@%h", "-c", "4"), ("-l", "INFO", "--", "worker.lost_wait=1")])
def test_worker_is_celery_at_once(
    became: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker68", "worker", *options])
    with pytest.raises(Became):
        start.main()
    assert became == [options]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_its_help_is_ours(
    became: list[tuple[str, ...]], call: Call, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert call("worker", option) == 0
    assert "the same as `celery -A worker68 worker`" in capsys.readouterr().out
    assert became == []


def test_health_is_said_at_once_also_as_json(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("worker68.cli.main.main", None)  # the long way, which imports all that commands need
    file = tmp_path / "health"
    monkeypatch.setenv("WORKER68_HEALTH_FILE", str(file))
    assert call("health") == 1
    file.touch()
    assert call("health") == 0
    assert capsys.readouterr().out.startswith("healthy: ")
    assert call("health", "--json") == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True


def test_other_words_are_left_to_the_commands(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("health", "--wrong") == 2
    assert capsys.readouterr().err.startswith("worker68 health: No such option")


def test_celerys_worker_has_its_own_words_and_gives_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    app, ran = object(), []

    def run(app: object, options: tuple[str, ...]) -> int:
        ran.append((app, options))
        return 3

    monkeypatch.setitem(vars(worker68), "celery", app)
    monkeypatch.setattr("worker68.celery_worker.internals.run_worker_command", run)
    monkeypatch.setattr(sys, "argv", ["worker68", "worker", "-n", "sender@%h"])
    with pytest.raises(SystemExit) as end:
        start.become_celery(("-n", "sender@%h"))
    assert (end.value.code, ran) == (3, [(app, ("-n", "sender@%h"))])
    command, *words = sys.argv
    assert Path(command) == Path(sys.executable).with_name("celery"), "with it Celery restarts and detaches itself"
    assert words == ["-A", "worker68", "worker", "-n", "sender@%h"]
