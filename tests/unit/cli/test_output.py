"""What is printed: times in UTC, tables in a pipe, and nothing that a terminal would obey."""

from __future__ import annotations

import datetime as dt

from click.testing import CliRunner

from worker68.cli.output import print_table, printable, show_time

AT = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def test_a_time_is_shown_in_utc() -> None:
    assert show_time(AT.astimezone(dt.timezone(dt.timedelta(hours=8)))) == "2026-11-23 12:00:00"
    assert show_time(None) is None


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert printable("a\x1b]0;title\x07b\tc\u202e 会话") == "a�]0;title�b c� 会话"


def test_a_table_in_a_pipe_has_a_line_for_each_row() -> None:
    runner = CliRunner()
    with runner.isolation() as (out, *_):
        print_table(("job", "why"), [("x" * 36, "y" * 300), (None, "[bold]z")])
        lines = out.getvalue().decode().splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["x" * 36, "y" * 300]
    assert lines[2].split() == ["-", "[bold]z"]
