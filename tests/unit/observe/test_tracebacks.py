"""Tracebacks in the log are those of Python, without what a database said."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing

import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import DBAPIError

from tests.parts.faults import OtherDriver, Wordless, refuse
from worker68.errors import DatabaseAway
from worker68.observe.tracebacks import format_traceback

SECRET = "the text of a message"
WORDS = f"duplicate key\nDETAIL:  Key (text)=({SECRET}) already exists."


def refuse_and_say_away() -> None:
    try:
        refuse(UniqueViolation(WORDS))
    except DBAPIError as error:
        raise DatabaseAway("duplicate key") from error


def fail_at_the_answer() -> None:
    try:
        refuse(UniqueViolation(WORDS))
    except DBAPIError:
        raise LookupError("nothing there")  # noqa: B904 - without a cause on purpose


def fail_without_context() -> None:
    try:
        raise ValueError("left out")
    except ValueError:
        raise LookupError("nothing there") from None


def shown(fail: Callable[[], None]) -> tuple[str, str]:
    """Return the traceback of what is raised as the log shows it, and as Python does."""
    try:
        fail()
    except Exception as error:  # noqa: BLE001 - whatever was raised is shown
        plain = "".join(traceback.format_exception(error)).rstrip("\n")
        return format_traceback((type(error), error, error.__traceback__)), plain
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: refuse(UniqueViolation(WORDS)),
        lambda: refuse(OtherDriver(WORDS)),
        refuse_and_say_away,
        fail_at_the_answer,
    ],
    ids=["PostgreSQL", "another driver", "its cause", "its context"],
)
def test_what_a_database_said_is_left_out(fail: Callable[[], None]) -> None:
    ours, plain = shown(fail)
    assert SECRET in plain
    assert SECRET not in ours
    assert "in refuse\n" in ours, "where it was raised"


def test_the_kind_of_a_refusal_is_shown() -> None:
    ours, _ = shown(lambda: refuse(UniqueViolation(WORDS)))
    assert "psycopg.errors.UniqueViolation: SQLSTATE 23505 (" in ours
    assert ours.splitlines()[-1].startswith("sqlalchemy.exc.IntegrityError: SQLSTATE 23505 (")


@pytest.mark.parametrize("fail", [lambda: int("x"), fail_without_context], ids=["plain", "without its context"])
def test_others_are_shown_as_python_does(fail: Callable[[], None]) -> None:
    ours, plain = shown(fail)
    assert ours == plain


def test_an_error_without_words_is_shown_all_the_same() -> None:
    assert "Wordless" in format_traceback((Wordless, Wordless(), None))


def test_of_sqlite_its_own_name_of_the_refusal_is_shown() -> None:
    def refuse_null() -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE TABLE t (x NOT NULL)")
            try:
                connection.execute("INSERT INTO t VALUES (NULL)")
            except sqlite3.IntegrityError as error:
                refuse(error)

    last = shown(refuse_null)[0].splitlines()[-1]
    assert last.startswith("sqlalchemy.exc.IntegrityError: SQLITE_CONSTRAINT_NOTNULL (")


def test_an_error_that_is_its_own_cause_is_shown_once() -> None:
    error = LookupError("nothing there")
    error.__cause__ = error
    assert format_traceback((LookupError, error, None)).count("nothing there") == 1
