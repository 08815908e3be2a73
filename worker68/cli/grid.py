"""A table that fits its terminal: what matters most has the room.

In: the names of columns, and cells as texts. Out: lines, for whatever width there is when it is drawn. Never: a line longer than
that, a row cut off.

The first column is what one copies: it is folded only where nothing else is left to take from. The last column holds words: where
the others leave it less than ``LEAST_WORDS``, it gets lines of its own below its row, or is left out if it is optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

#: With less room words are a pillar of syllables.
LEAST_WORDS: Final = 36
#: No column but the first is folded to less.
LEAST_CELL: Final = 6
INDENT: Final = 2
#: Between columns, and where that is too much.
GAPS: Final = (2, 1)


@dataclass(frozen=True)
class _Layout:
    """``below``: the last column stands below each row. ``columns``: the others, or all, by their places."""

    columns: list[int]
    widths: list[int]
    gap: int
    below: bool


@dataclass(frozen=True)
class Grid:
    """``optional``: columns that are left out, the last one first, where there is no room for them."""

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
