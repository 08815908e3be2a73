"""A table fits the width that there is, and loses nothing that it shows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from worker68.cli.output import Grid

CONSOLE = Console(width=200)
UUID = "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57"
WHY = "limit chat of the account's settings (20/m); its next chance is in 2.3 s"


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, optional: Sequence[str] = ()) -> list[str]:
    grid = Grid(columns, [[Text(cell) for cell in row] for row in rows], optional)
    return [line.plain for line in grid.lines(CONSOLE, width)]


def test_all_columns_stand_side_by_side_where_there_is_room() -> None:
    assert draw(("job", "tries", "why"), [(UUID, "0", WHY), ("b", "12", "-")], 200) == [
        f"job{' ' * 35}tries  why",
        f"{UUID}  0      {WHY}",
        f"b{' ' * 37}12     -",
    ]


def test_words_are_wrapped_beside_the_others_where_they_have_room_enough() -> None:
    assert draw(("job", "why"), [("7b1f0c9e", WHY)], 60) == [
        "job       why",
        "7b1f0c9e  limit chat of the account's settings (20/m); its",
        "          next chance is in 2.3 s",
    ]


def test_words_stand_below_their_row_where_they_have_not() -> None:
    assert draw(("job", "chat", "why"), [("7b1f0c9e", "friend 9223372036854775807", WHY), ("b", "c", "-")], 60) == [
        "job       chat",
        "7b1f0c9e  friend 9223372036854775807",
        "  limit chat of the account's settings (20/m); its next",
        "  chance is in 2.3 s",
        "b         c",
    ]


def test_what_is_optional_is_left_out_first() -> None:
    rows = [("7b1f0c9e", "x" * 20, "y" * 20, WHY)]
    assert draw(("job", "one", "two", "why"), rows, 48, ("one", "two"))[:2] == [
        "job       one",
        f"7b1f0c9e  {'x' * 20}",
    ]
    assert draw(("job", "one", "owner"), [("7b1f0c9e", "x" * 30, "z" * 30)], 50, ("owner",)) == [
        "job       one",
        f"7b1f0c9e  {'x' * 30}",
    ]


def test_what_one_copies_is_folded_last() -> None:
    lines = draw(("job", "account", "why"), [(UUID, "a" * 64, WHY)], 80)
    assert lines[1].startswith(f"{UUID} aaaa")
    assert max(map(len, lines)) <= 80


def test_a_wide_character_has_two_places() -> None:
    head, row = draw(("name", "count"), [("小鱼儿", "7")], 80)
    assert (head, row) == ("name    count", "小鱼儿  7")


CELLS = st.text(st.sampled_from("ab-@ 小0123456789"), max_size=80)


@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=4)), st.data())
def test_no_line_is_longer_and_nothing_is_lost(rows: list[list[str]], data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([80, 120]))
    number = len(rows[0]) if rows else 3
    columns = [f"column {place}" for place in range(number)]
    lines = draw(columns, rows, width)
    assert all(Text(line).cell_len <= width for line in lines)
    for row in rows:
        for cell in row:
            if cell != "-":
                assert not sorted_out(cell, "".join(lines))


def sorted_out(cell: str, drawn: str) -> list[str]:
    """Return the characters of a cell that are drawn less often than they stand in it."""
    return [char for char in set(cell) - {" "} if drawn.count(char) < cell.count(char)]


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_without_rows_is_its_head(width: int) -> None:
    assert draw(("job", "why"), [], width) == ["job  why"]
