"""An outage is two lines in the log, however many try how often."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from worker68.errors import DatabaseAway, DatabaseUnfit
from worker68.observe import outages
from worker68.observe.outages import FORGET_SECONDS, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "monotonic", clock)
    return clock


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage("it_is_away", "it_is_back", "look at it")


AWAY = DatabaseAway("it does not answer")


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


def test_it_begins_with_a_line_and_ends_with_one_that_counts(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        for _ in range(50):
            for where in ("scheduler", "recorder"):
                outage.fails(where, AWAY)
            clock.now += 1
        outage.works("scheduler")
        assert len(lines) == 1, "the other one still fails"
        outage.works("recorder")
        outage.works("scheduler")
    first, last = lines
    assert first == {
        "event": "it_is_away",
        "log_level": "warning",
        "where": "scheduler",
        "problem": "it does not answer",
        "remedy": "look at it",
    }
    assert last == {"event": "it_is_back", "log_level": "info", "seconds": 50, "failures": 100}


def test_another_kind_of_problem_is_said_as_well(outage: Outage) -> None:
    """It starts, and turns out to have no tables: now somebody must act."""
    with capture_logs() as lines:
        for _ in range(2):
            outage.fails("scheduler", AWAY)
            outage.fails("scheduler", DatabaseUnfit("no tables"))
    assert [line["problem"] for line in lines] == ["it does not answer", "no tables"]


def test_the_next_one_has_lines_of_its_own(outage: Outage) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            outage.fails("scheduler", AWAY)
            outage.works("scheduler")
    assert events(lines) == ["it_is_away", "it_is_back"] * 2
    assert [line["failures"] for line in lines[1::2]] == [1, 1]


def test_whoever_never_tries_again_does_not_keep_it_open(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        outage.fails("recorder", AWAY)
        outage.fails("scheduler", AWAY)
        outage.works("scheduler")
        assert events(lines) == ["it_is_away"]
        clock.now += FORGET_SECONDS
        outage.works("scheduler")
    assert events(lines) == ["it_is_away", "it_is_back"]


def test_a_later_one_is_said_also_where_the_end_of_the_first_was_seen_by_none(outage: Outage, clock: Clock) -> None:
    with capture_logs() as lines:
        outage.fails("recorder", AWAY)
        clock.now += FORGET_SECONDS
        outage.fails("recorder", AWAY)
    assert events(lines) == ["it_is_away"] * 2


def test_what_a_database_said_is_left_out(outage: Outage) -> None:
    """PostgreSQL quotes the row, and so the text of a message."""
    with capture_logs() as lines:
        outage.fails("scheduler", DBAPIError("UPDATE", None, Exception("DETAIL:  Failing row contains (secret).")))
    assert lines[0]["problem"].startswith("no code (")
    assert "secret" not in str(lines)


def test_of_a_fault_each_place_is_said_once_with_its_traceback(clock: Clock) -> None:
    fault = Outage("it_failed", "it_works_again", "report it", fault=True)
    with capture_logs() as lines:
        for _ in range(3):
            for account in ("main", "other"):
                fault.fails(account, LookupError("x"), account=account)
    assert [(line["account"], line["log_level"], type(line["exc_info"])) for line in lines] == [
        ("main", "error", LookupError),
        ("other", "error", LookupError),
    ]


def test_a_success_without_a_failure_says_nothing(outage: Outage) -> None:
    with capture_logs() as lines:
        outage.works("scheduler")
    assert lines == []


def test_a_look_at_the_database_notes_how_it_ends(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "DATABASE", Outage("database_away", "database_back", "wait"))
    with capture_logs() as lines:
        for problem in (AWAY, ZeroDivisionError("a fault"), None):
            with outages.noting("watch", outage):
                if problem is not None:
                    raise problem
    assert events(lines) == ["database_away", "it_is_away", "database_back", "it_is_back"]
