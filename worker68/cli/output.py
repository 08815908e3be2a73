"""How answers look: JSON for programs, tables and lines for people.

In: values, some of them written by strangers (a producer's job id, the service's words). Out: standard output, without characters
that a terminal would obey. Never: a line of a table that is longer than the terminal is wide, a row cut off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

#: Where no terminal says how wide it is: a row stays in one line, for grep.
WIDTH_WITHOUT_TERMINAL: Final = 100_000
#: The names of facts, and what is between them and the facts.
FACT_INDENT: Final = 15

#: With less room words are a pillar of syllables.
LEAST_WORDS: Final = 36
#: No column but the first is folded to less.
LEAST_CELL: Final = 6
INDENT: Final = 2
#: Between columns, and where that is too much.
GAPS: Final = (2, 1)

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


#: An option of commands that print data.
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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


@dataclass(frozen=True)
class _Layout:
    """``below``: the last column stands below each row. ``columns``: the others, or all, by their places."""

    columns: list[int]
    widths: list[int]
    gap: int
    below: bool


@dataclass(frozen=True)
class Grid:
    """A table for whatever width there is when it is drawn.

    The first column is what one copies: it is folded only where nothing else is left to take from. The last column holds words:
    where the others leave it less than ``LEAST_WORDS``, it gets lines of its own below its row, or is left out if it is optional.
    ``optional``: columns that are left out, the last one first, where there is no room for them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    optional: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(console, options.max_width)

    def lines(self, console: Console, width: int) -> Iterator[Text]:
        """Return the lines for a terminal so wide."""
        layout = self._fit(width)
        heads = [Text(name, style="bold") for name in self.columns]
        yield from _draw(console, [heads[place] for place in layout.columns], layout)
        for row in self.rows:
            yield from _draw(console, [row[place] for place in layout.columns], layout)
            if layout.below and row[-1].plain != "-":
                for line in row[-1].wrap(console, max(1, width - INDENT)):
                    line.rstrip()
                    yield Text(" " * INDENT) + line

    def _fit(self, width: int) -> _Layout:
        natural = [
            max(cell.cell_len for cell in column)
            for column in zip([Text(name) for name in self.columns], *self.rows, strict=True)
        ]
        places = list(range(len(natural)))
        if (layout := _fit_beside(places, natural, width)) is not None:
            return layout
        below = self.columns[-1] not in self.optional
        rest = places[:-1] or places
        for leave_out in range(len(self.optional) + 1):
            left_out = self.optional[len(self.optional) - leave_out :]
            columns = [place for place in rest if self.columns[place] not in left_out]
            for gap in GAPS:
                if _whole(columns, natural, gap) <= width:
                    return _Layout(columns, [natural[place] for place in columns], gap, below)
        return _Layout(columns, _shrink([natural[place] for place in columns], width, GAPS[-1]), GAPS[-1], below)


def _whole(places: Sequence[int], natural: Sequence[int], gap: int) -> int:
    return sum(natural[place] for place in places) + gap * (len(places) - 1)


def _fit_beside(places: list[int], natural: list[int], width: int) -> _Layout | None:
    """Return the layout with all columns side by side, None where the words have not room enough."""
    for gap in GAPS:
        others = _whole(places[:-1], natural, gap) + gap if len(places) > 1 else 0
        room = width - others
        if room >= natural[-1] or room >= LEAST_WORDS:
            return _Layout(places, [*natural[:-1], min(natural[-1], room)], gap, below=False)
    return None


def _shrink(widths: list[int], width: int, gap: int) -> list[int]:
    """Take from the widest column again and again, from the first one last."""
    widths = list(widths)
    room = width - gap * (len(widths) - 1)
    while sum(widths) > room:
        widest = max(range(1, len(widths)), key=widths.__getitem__, default=0)
        if widest == 0 or widths[widest] <= LEAST_CELL:
            widths[0] = max(1, room - sum(widths[1:]))
            break
        widths[widest] -= 1
    return widths


def _draw(console: Console, cells: Sequence[Text], layout: _Layout) -> Iterator[Text]:
    """Return the lines of a row, each cell folded within its width."""
    folded = [
        list(cell.wrap(console, width)) if cell.cell_len > width else [cell]
        for cell, width in zip(cells, layout.widths, strict=True)
    ]
    for number in range(max(map(len, folded))):
        line = Text()
        for column, (lines, width) in enumerate(zip(folded, layout.widths, strict=True)):
            part = lines[number] if number < len(lines) else Text()
            line.append_text(part)
            if column < len(folded) - 1:
                line.append(" " * (width - part.cell_len + layout.gap))
        line.rstrip()
        yield line
