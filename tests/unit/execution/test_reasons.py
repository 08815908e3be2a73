"""Which reasons go into the rows of waiting jobs, and when: what lasts, and nothing that is over."""

from __future__ import annotations

import pytest

from worker68.execution.reasons import RowReasons


class Rows:
    """The looks of an owner, and what they leave in the rows."""

    def __init__(self) -> None:
        self._reasons = RowReasons()

    def look(self, **held: str | None) -> dict[str, str | None]:
        """Return what is written at a look at which these jobs are the first of their lanes; ``a`` is the job 10, ..."""
        now = {int(name, 16): words for name, words in held.items()}
        changes = self._reasons.changes(now)
        self._reasons.note(now, changes)
        return {f"{seq:x}": words for seq, words in changes.items()}


@pytest.fixture
def rows() -> Rows:
    return Rows()


def test_what_lasts_is_written_once(rows: Rows) -> None:
    assert rows.look(a="limit chat") == {}
    assert rows.look(a="limit chat", b="limit chat") == {"a": "limit chat"}
    assert rows.look(a="limit chat", b="limit chat") == {"b": "limit chat"}
    assert rows.look(a="limit chat", b="limit chat") == {}


def test_what_changes_from_look_to_look_is_not_written(rows: Rows) -> None:
    for words in ("limit chat", "limit account", "limit chat", None, "limit chat"):
        assert rows.look(a=words) == {}


def test_what_is_over_goes_at_once_also_where_nothing_lasting_follows(rows: Rows) -> None:
    rows.look(a="paused by ann")
    assert rows.look(a="paused by ann") == {"a": "paused by ann"}
    assert rows.look(a="limit chat") == {"a": None}
    assert rows.look(a="limit account") == {}
    assert rows.look(a="limit account") == {"a": "limit account"}


def test_what_an_earlier_owner_wrote_goes_where_nothing_holds_the_job_up(rows: Rows) -> None:
    rows.look(a=None)
    assert rows.look(a=None) == {"a": None}
    assert rows.look(a=None) == {}


def test_a_job_that_is_not_the_first_any_more_has_no_reason_of_its_own(rows: Rows) -> None:
    rows.look(a="limit chat")
    rows.look(a="limit chat")
    assert rows.look(b="limit chat") == {"a": None}
    assert rows.look(b="limit chat") == {"b": "limit chat"}
