"""``worker68 worker`` becomes Celery's worker, with its options as they were given."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--loglevel=info", "-n", "sender@%h", "--without-mingle"),
        ("-c", "4", "-Q", "worker68,worker68.main", "-E"),
        ("-l", "INFO", "--", "worker.prefetch_multiplier=1"),
    ],
)
def test_the_options_are_handed_on(run: Run, became: list[tuple[str, ...]], options: tuple[str, ...]) -> None:
    run("worker", *options)
    assert became == [options]
