"""``worker68 worker`` turns into Celery's worker, with its options as they were given."""

from __future__ import annotations

import os
import sys

import pytest

from tests.unit.cli.conftest import Run

SETTINGS = {"REDIS_URL": "redis://127.0.0.1:1/0", "BRIDGE_URL": "ws://127.0.0.1:1"}


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: calls.append([program, *words]))
    return calls


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--loglevel=info", "-n", "sender@%h", "--without-mingle"),
        ("-c", "4", "-Q", "worker68,worker68.main", "-E"),
        ("-l", "INFO", "--", "worker.prefetch_multiplier=1"),
    ],
)
def test_the_options_are_handed_on(run: Run, became: list[list[str]], options: tuple[str, ...]) -> None:
    assert run("worker", *options, **SETTINGS).exit_code == 0
    (words,) = became
    assert words[:7] == [sys.executable, sys.executable, "-m", "celery", "-A", "worker68", "worker"]
    assert tuple(words[7:]) == options


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"REDIS_URL": "http://x"}, "WORKER68_REDIS_URL: "),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "no account"),
    ],
)
def test_wrong_settings_are_told_before_celery_is_there(
    run: Run, became: list[list[str]], settings: dict[str, str], told: str
) -> None:
    result = run("worker", **settings)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert became == []
