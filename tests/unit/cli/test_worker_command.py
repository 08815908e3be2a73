"""``worker68 worker`` turns into Celery's worker, with its options as they were given."""

from __future__ import annotations

import os
import sys

import pytest

from tests.unit.cli.conftest import Run
from worker68.cli import start


class Became(Exception):
    """This process has turned into another program: nothing after that runs."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []

    def become(program: str, words: list[str]) -> None:
        calls.append([program, *words])
        raise Became

    monkeypatch.setattr(os, "execv", become)
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
@pytest.mark.parametrize("shorter", [False, True])
def test_the_options_are_handed_on(
    run: Run, became: list[list[str]], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], shorter: bool
) -> None:
    if shorter:
        monkeypatch.setattr(sys, "argv", ["worker68", "worker", *options])
        with pytest.raises(Became):
            start.main()
    else:
        run("worker", *options)
    (words,) = became
    assert words[:7] == [sys.executable, sys.executable, "-m", "celery", "-A", "worker68", "worker"]
    assert tuple(words[7:]) == options
