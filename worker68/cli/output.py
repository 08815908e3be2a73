"""How answers look: JSON for programs, tables and lines for people.

In: values, some of them written by strangers (a producer's job id, the service's words). Out: standard output, without characters
that a terminal would obey.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.text import Text

from worker68.cli.grid import Grid

#: Where no terminal says how wide it is: a row stays in one line, for grep.
WIDTH_WITHOUT_TERMINAL: Final = 100_000
#: The names of facts, and what is between them and the facts.
FACT_INDENT: Final = 15

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


def open_console(width_without_terminal: int | None = None) -> Console:
    """Return a console for standard output as it is now. ``COLUMNS`` counts for a terminal only: tools set it for pipes too."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = width_without_terminal or WIDTH_WITHOUT_TERMINAL
    return console


def print_json(value: Any) -> None:
    """Print one line of JSON; times as RFC 3339."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    console: Console | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Print a table that fits; None is shown as a dash. The first column is what one copies, the last one holds words."""
    console = console or open_console()
    for line in make_table(columns, rows, optional).lines(console, console.width):
        console.print(line, soft_wrap=True)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]], optional: Sequence[str] = ()) -> Grid:
    """Return a table as ``print_table`` prints it; ``optional``: columns that may be left out, the last one first."""
    return Grid(columns, [list(map(_cell, row)) for row in rows], optional)


def print_facts(facts: Mapping[str, object], verbatim: Collection[str] = ()) -> None:
    """Print a line for each fact that is not None. Where a terminal is narrow words are wrapped, ``verbatim`` ones are not."""
    console = open_console()
    for name, value in facts.items():
        if value is None:
            continue
        text = Text(printable(str(value)))
        whole = name in verbatim or len(text) <= console.width - FACT_INDENT
        lines = [text] if whole else list(text.wrap(console, max(20, console.width - FACT_INDENT)))
        for number, line in enumerate(lines):
            head = f"{name + ':':{FACT_INDENT}}" if number == 0 else " " * FACT_INDENT
            console.print(Text(head) + line, soft_wrap=True)


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
