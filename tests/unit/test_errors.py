"""What is said of an error names its kind and its place, and never what a message or a row holds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from psycopg.errors import UniqueViolation

from tests.parts.faults import OtherDriver, Wordless, refuse
from worker68.errors import FieldError, InvalidJob, code_of, describe_fault, is_drivers, words_of

SECRET = "the text of a message"


def raised(fail: Callable[[], object]) -> Exception:
    """Return what is raised."""
    try:
        fail()
    except Exception as error:  # noqa: BLE001 - whatever was raised is looked at
        return error
    raise AssertionError("nothing was raised")


def refused_by_sqlite() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (x NOT NULL)")
        connection.execute("INSERT INTO t VALUES (NULL)")


class TestWordsOf:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (UniqueViolation(SECRET), "SQLSTATE 23505"),
            (raised(lambda: refuse(UniqueViolation(SECRET))), "SQLSTATE 23505"),
            (raised(lambda: refuse(raised(refused_by_sqlite))), "SQLITE_CONSTRAINT_NOTNULL"),
            (raised(lambda: refuse(OtherDriver(SECRET))), "no code"),
        ],
        ids=["PostgreSQL's driver", "PostgreSQL", "SQLite", "another database"],
    )
    def test_of_a_database_there_is_its_code_alone(self, error: Exception, code: str) -> None:
        assert is_drivers(error)
        assert words_of(error) == code_of(error)
        assert words_of(error).startswith(f"{code} (")
        assert SECRET not in words_of(error)

    def test_any_other_error_has_its_own_words(self) -> None:
        error = LookupError("no such group")
        assert not is_drivers(error)
        assert words_of(error) == "no such group"

    def test_an_error_that_cannot_say_what_it_is_is_named(self) -> None:
        assert words_of(Wordless()) == "(Wordless has no words)"


class TestDescribeFault:
    def test_it_says_where_the_error_was_raised_and_not_its_words(self) -> None:
        def read() -> None:
            raise LookupError(SECRET)

        described = describe_fault(raised(lambda: read()))
        assert re.fullmatch(r"LookupError in read \(test_errors\.py:[0-9]+\)", described)
        assert described.endswith(f":{read.__code__.co_firstlineno + 1})")

    def test_an_error_that_was_not_raised_has_no_place(self) -> None:
        assert describe_fault(LookupError(SECRET)) == "LookupError"


def test_an_invalid_job_names_all_its_wrong_fields() -> None:
    wrong = [FieldError("chat.id", "missing"), FieldError("text", "expected a text")]
    refused = InvalidJob(wrong)
    wrong.clear()
    assert str(refused) == "chat.id: missing; text: expected a text"
    assert [error.field for error in refused.fields] == ["chat.id", "text"]
