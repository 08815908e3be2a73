"""How answers look: JSON for programs, tables and lines for people.

In: values, some of them written by strangers (a producer's job id, the service's words). Out: standard output, without characters
that a terminal would obey.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Where no terminal says how wide it is: a row stays in one line, for whoever reads it with grep.
WIDTH_WITHOUT_TERMINAL: Final = 1000

STYLES: Final = {
    "succeeded": "green",
    "failed": "red",
    "in_doubt": "yellow",
    "expired": "magenta",
    "cancelled": "magenta",
    "ok": "green",
    "warning": "yellow",
    "wrong": "red",
}


def open_console(width_without_terminal: int = WIDTH_WITHOUT_TERMINAL) -> Console:
    """Return a console for standard output as it is now."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = width_without_terminal
    return console


def print_json(value: Any) -> None:
    """Print one line of JSON; times as RFC 3339."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], console: Console | None = None) -> None:
    """Print a table; None is shown as a dash. The first column is never folded: it is what one copies."""
    console = console or open_console()
    console.print(make_table(columns, rows, console))


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]], console: Console | None = None) -> Table:
    """Return a table as ``print_table`` prints it."""
    console = console or open_console()
    table = Table(*columns, box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def printable(text: str) -> str:
    """Return the text in one line, with a mark in place of what a terminal would not print but obey."""
    return "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))


def show_time(when: dt.datetime | None) -> str | None:
    """Return a time to the second, in UTC."""
    return f"{when.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}" if when else None


def count_of(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def show_length(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded down."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def _cell(value: object) -> Text:
    text = "-" if value is None else printable(str(value))
    return Text(text, style=STYLES.get(text, ""), overflow="fold")
