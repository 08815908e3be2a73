"""Workers killed at random moments while jobs go through: a short run of the command that does so for thousands of jobs."""

from __future__ import annotations

import pytest

from tests.soak.killer import Plan, open_soak


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_random_kills_lose_nothing_and_double_nothing(database: str) -> None:
    # A worker that stands still for a moment keeps its lease: nothing is in doubt but by a kill. The kills are so far apart that
    # some of them meet an owner all the same.
    plan = Plan(jobs=300, database=database, workers=2, kills=6, minutes=4, lease_ttl=4.0, every=2.0)
    with open_soak(plan) as soak:
        report = soak.run()
    assert report.problems == []
    assert report.kills > 0
