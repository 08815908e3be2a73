"""Workers killed at random moments while jobs go through: a short run of the command that does so for thousands of jobs."""

from __future__ import annotations

from tests.soak.killer import Plan, open_soak


def test_random_kills_lose_nothing_and_double_nothing() -> None:
    with open_soak(Plan(jobs=100, database="postgresql", workers=2, kills=6, minutes=1.5)) as soak:
        report = soak.run()
    assert report.problems == []
    assert report.kills > 0
