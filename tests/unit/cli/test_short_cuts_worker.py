"""``worker68 worker`` becomes Celery's worker, with its options as they were given."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from tests.unit.cli.conftest import Run
from worker68.cli import short_cuts, start


class Became(Exception):
    """This process is Celery's worker now: nothing after that runs."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    calls: list[tuple[str, ...]] = []

    def become(options: Sequence[str]) -> None:
        calls.append(tuple(options))
        raise Became

    for module in (start, short_cuts):
        monkeypatch.setattr(module, "become_celery", become)
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
    run: Run,
    became: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    shorter: bool,
) -> None:
    if shorter:
        monkeypatch.setattr(sys, "argv", ["worker68", "worker", *options])
        with pytest.raises(Became):
            start.main()
    else:
        run("worker", *options)
    assert became == [options]
