"""Errors as databases and their drivers raise them, and one that cannot say what it is."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError


class OtherDriver(Exception):
    """An error of a driver that knows no code, neither PostgreSQL's nor SQLite's."""


class Wordless(Exception):
    """An error whose words are an error."""

    def __str__(self) -> str:
        raise ValueError("no words")


def refuse(error: Exception) -> None:
    """Raise what SQLAlchemy makes of a driver's error."""
    try:
        raise error
    except Exception as orig:
        raise DBAPIError.instance("INSERT", None, orig, type(error), hide_parameters=True) from orig
