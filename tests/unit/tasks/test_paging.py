"""Reading a list to its end, whatever the pages are: the list is called whole only where that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.onloop import run
from tests.parts.turns import Collected, FreeContext, turn
from worker68.bridge.link import Link
from worker68.jobs import snapshot
from worker68.jobs.evidence import BUSY, BridgeError, Evidence
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain
from worker68.jobs.snapshot import ListSeen, MemberRow
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.turn import TRIES_IN_PLACE, Turn

SIZE = 3
SYNC_MEMBERS = "worker68.sync_group_members"
BUSY_ANSWER = Evidence(written=True, replied=True, error=BridgeError(BUSY, "busy"))
SILENCE = Evidence(written=True)


class Page(msgspec.Struct):
    """A page as a reply holds it. An id below 1 is an entry that cannot be read."""

    ids: list[int] | None
    count: Any = None
    lastUpdateTime: Any = None


def page(*ids: int, count: Any = None, changed: Any = None) -> Evidence:
    return Evidence(written=True, replied=True, data=Page(list(ids), count, changed))


class Service:
    """Answers the page of a number with what a test wrote; beyond it with an empty page. A list is answered in turn."""

    def __init__(self, pages: dict[int, Any]) -> None:
        self.pages = pages
        self.asked: list[int] = []

    async def ask(self, _: Turn, number: int) -> Evidence:
        self.asked.append(number)
        answer = self.pages.get(number, page())
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return cast(Evidence, answer)


def entries(data: Any) -> Sequence[msgspec.Raw] | None:
    if not isinstance(data, Page):
        return None
    return [msgspec.Raw(b"%d" % number) for number in data.ids or ()]


def read_row(raw: msgspec.Raw) -> MemberRow | None:
    user_id = int(bytes(raw))
    return MemberRow(user_id, "", None, "member", False) if user_id > 0 else None


def read(service: Service, context: FreeContext | None = None, **source: Any) -> Any:
    options = {"page_size": SIZE} | source
    reading = ListSource(snapshot.GROUP_MEMBERS, service.ask, entries, read_row, **options)
    return run(read_list(turn(cast(Link, None), SYNC_MEMBERS, context, group_id=7), reading, 7))


def ids(seen: ListSeen) -> list[int]:
    return [row.user_id for row in cast(Collected, seen.rows).rows if isinstance(row, MemberRow)]


def test_one_page_that_holds_all_is_asked_for_once() -> None:
    service = Service({1: page(1, 2, 3, count="3")})
    seen = read(service)
    assert (ids(seen), seen.whole, seen.announced, seen.subject_id) == ([1, 2, 3], True, 3, 7)
    assert service.asked == [1]


def test_pages_to_the_end_and_a_look_back_at_the_first() -> None:
    service = Service({1: page(1, 2, 3, count=7), 2: page(4, 5, 6), 3: page(7)})
    seen = read(service)
    assert (ids(seen), seen.whole, seen.announced) == ([1, 2, 3, 4, 5, 6, 7], True, 7)
    assert service.asked == [1, 2, 3, 1]


def test_only_one_page_at_a_time_is_handed_on() -> None:
    seen = read(Service({1: page(1, 2, 3, count=6), 2: page(4, 5, 6)}))
    assert cast(Collected, seen.rows).pages == [3, 3]


def test_a_list_without_pages_is_asked_for_once() -> None:
    service = Service({1: page(1, 2)})
    seen = read(service, paged=False, page_size=None)
    assert (ids(seen), seen.whole, service.asked) == ([1, 2], True, [1])


def test_short_pages_are_no_end_while_more_was_announced() -> None:
    seen = read(Service({1: page(1, count=4), 2: page(2), 3: page(3, 4)}))
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], True)


def test_without_a_count_an_empty_page_is_the_end() -> None:
    service = Service({1: page(1, 2, 3), 2: page(4, 5, 6)})
    seen = read(service)
    assert (ids(seen), seen.whole, seen.announced) == ([1, 2, 3, 4, 5, 6], True, None)
    assert service.asked == [1, 2, 3, 1]


def test_an_empty_page_in_the_middle_is_passed_over() -> None:
    seen = read(Service({1: page(1, 2, 3, count=6), 2: page(), 3: page(4, 5, 6)}))
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4, 5, 6], True)


def test_a_count_that_is_too_high_ends_after_two_empty_pages() -> None:
    service = Service({1: page(1, 2, 3, count=9)})
    seen = read(service)
    assert (ids(seen), seen.announced) == ([1, 2, 3], 9)
    assert service.asked == [1, 2, 3, 1]


def test_a_count_that_is_too_low_does_not_hide_full_pages() -> None:
    seen = read(Service({1: page(1, 2, 3, count=2), 2: page(4)}))
    assert (ids(seen), seen.announced) == ([1, 2, 3, 4], 2)


def test_overlapping_pages_are_read_until_each_entry_was_seen() -> None:
    service = Service({1: page(1, 2, 3, count=7), 2: page(3, 4, 5), 3: page(5, 6, 7)})
    seen = read(service)
    assert (set(ids(seen)), seen.whole, seen.announced) == ({1, 2, 3, 4, 5, 6, 7}, True, 7)
    assert service.asked == [1, 2, 3, 1]


def test_overlapping_pages_without_a_count_are_read_to_the_empty_page() -> None:
    seen = read(Service({1: page(1, 2, 3), 2: page(2, 3), 3: page(3, 4, 5), 4: page(5)}))
    assert (set(ids(seen)), seen.whole) == ({1, 2, 3, 4, 5}, True)


@pytest.mark.parametrize("count", [4, 8], ids=["too low", "too high"])
def test_overlapping_pages_are_read_to_the_end_where_the_count_is_wrong(count: int) -> None:
    seen = read(Service({1: page(1, 2, 3, count=count), 2: page(3, 4, 5), 3: page(5, 6)}))
    assert (set(ids(seen)), seen.announced) == ({1, 2, 3, 4, 5, 6}, count)


@pytest.mark.parametrize("counts", [(5, 6), (7, 6)], ids=["grows", "shrinks"])
def test_overlapping_pages_are_read_to_the_end_where_the_count_changes(counts: tuple[int, int]) -> None:
    first, later = counts
    seen = read(Service({1: page(1, 2, 3, count=first), 2: page(3, 4, 5, count=later), 3: page(5, 6, count=later)}))
    assert (set(ids(seen)), seen.whole) == ({1, 2, 3, 4, 5, 6}, False)


def test_an_entry_that_comes_twice_within_a_page_counts_once() -> None:
    seen = read(Service({1: page(1, 1, 2, count=3), 2: page(3)}))
    assert (set(ids(seen)), seen.whole) == ({1, 2, 3}, True)


def test_a_count_that_is_too_low_does_not_hide_pages_whose_size_the_service_chose() -> None:
    seen = read(Service({1: page(1, 2, count=3), 2: page(3, 4), 3: page(5, 6)}), page_size=None)
    assert ids(seen) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("count", [9, None])
def test_pages_that_turn_in_circles_end_the_reading(count: int | None) -> None:
    circle = {number: page(4, 5, 6) if number % 2 else page(7, 8, 4) for number in range(2, 99)}
    service = Service({1: page(1, 2, 3, count=count), **circle})
    seen = read(service)
    assert (set(ids(seen)), seen.whole) == ({1, 2, 3, 4, 5, 6, 7, 8}, False)
    assert seen.note == "3 pages in a row brought nothing new, the last of them page 6"
    assert len(service.asked) < 9


def test_pages_that_cannot_be_read_end_the_reading_too() -> None:
    service = Service({1: page(1, 2, 3), **dict.fromkeys(range(2, 99), page(0, 0, 0))})
    assert not read(service).whole
    assert len(service.asked) < 9


def test_an_empty_list_is_a_whole_one() -> None:
    for first in (page(count=0), page()):
        seen = read(Service({1: first}))
        assert (ids(seen), seen.whole) == ([], True)


def test_a_page_that_comes_again_by_a_slip_is_asked_for_once_more() -> None:
    service = Service({1: page(1, 2, 3, count=6), 2: [page(1, 2, 3), page(4, 5, 6)]})
    seen = read(service)
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4, 5, 6], True)


@pytest.mark.parametrize("count", [9, None])
def test_a_service_that_pays_no_heed_to_the_number_ends_the_reading(count: int | None) -> None:
    service = Service(dict.fromkeys(range(1, 50), page(1, 2, 3, count=count)))
    seen = read(service)
    assert (ids(seen), seen.whole) == ([1, 2, 3], False)
    assert len(service.asked) < 6
    assert seen.note == "page 2 came as one before it"


def test_a_first_page_that_comes_again_later_ends_the_reading() -> None:
    pages = {1: page(1, 2, 3, count=99), 2: page(4, 5, 6), 3: page(1, 2, 3), 4: page(4, 5, 6)}
    seen = read(Service(pages))
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4, 5, 6], False)


def test_a_last_page_that_is_given_for_every_number_beyond_it_is_the_end() -> None:
    seen = read(Service({1: page(1, 2, 3), **dict.fromkeys(range(2, 9), page(4))}))
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], True)


@pytest.mark.parametrize(
    "again",
    [page(1, 2, 3, count=3, changed=8), page(1, 2, 3, count=4, changed="9")],
    ids=["another count", "another time"],
)
def test_a_list_that_changed_meanwhile_is_not_whole(again: Evidence) -> None:
    """A member who left page 1 moved another one from page 2 to page 1, where we had been already."""
    service = Service({1: [page(1, 2, 3, count=4, changed=8), again], 2: page(4)})
    seen = read(service)
    assert not seen.whole
    assert seen.note == "the list changed while it was read"


def test_a_time_that_differs_each_time_is_a_clock_and_says_nothing() -> None:
    clock = [page(1, 2, 3, count=4, changed=time) for time in (8, 9, 10)]
    service = Service({1: clock, 2: page(4)})
    seen = read(service)
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], True)
    assert service.asked == [1, 2, 1, 1]


@pytest.mark.parametrize(
    "last",
    [
        page(1, 2, 3, count=4, changed=9),
        page(1, 2, 3, count=5, changed=10),
        page(1, 2, 5, count=4, changed=10),
        page(1, 2, 3, count=4, changed=8),
        Evidence(written=True),
    ],
    ids=["it stands still again", "another count", "another page", "it goes back", "no answer"],
)
def test_a_time_that_differs_once_is_a_change(last: Evidence) -> None:
    service = Service({1: [page(1, 2, 3, count=4, changed=8), page(1, 2, 3, count=4, changed=9), last], 2: page(4)})
    seen = read(service)
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], False)
    assert seen.note == "the list changed while it was read"


def test_a_count_that_differs_from_page_to_page_is_a_change() -> None:
    seen = read(Service({1: page(1, 2, 3, count=5), 2: page(4, count=4)}))
    assert (seen.whole, seen.announced) == (False, 4)


def test_an_entry_that_cannot_be_read_is_counted_and_costs_no_other() -> None:
    seen = read(Service({1: page(1, 0, 3, count=3)}))
    assert (ids(seen), seen.whole, seen.note) == ([1, 3], False, "1 entry could not be read")


@pytest.mark.parametrize("step", [1, 2])
def test_an_entry_that_cannot_be_read_is_counted_once_however_many_pages_show_it(step: int) -> None:
    everything = [1, 2, 0, 3, 4, 5]
    pages = overlapping(everything, step)
    seen = read(Service({1: page(*pages[0], count=6), **{n: page(*one) for n, one in enumerate(pages[1:], start=2)}}))
    assert (set(ids(seen)), seen.note) == ({1, 2, 3, 4, 5}, "1 entry could not be read")


def test_two_different_entries_that_cannot_be_read_are_two() -> None:
    service = Service({1: page(1, 0, -1, count=4), 2: page(-1, 2)})
    seen = read(service)
    assert (ids(seen), seen.note) == ([1, 2], "2 entries could not be read")
    assert service.asked == [1, 2, 1]


def test_pages_that_differ_in_what_cannot_be_read_are_not_the_same() -> None:
    seen = read(Service({1: page(0, 1, 2, count=5), 2: page(1, 2, -1), 3: page(-1, 3)}))
    assert (set(ids(seen)), seen.note) == ({1, 2, 3}, "2 entries could not be read")


def test_a_reply_without_a_list_is_refused() -> None:
    outcome = read(Service({1: Evidence(written=True, replied=True, data={"members": 5})}))
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.message) == (
        ErrorCode.REFUSED,
        "the bridge's reply holds no list of group members",
    )


def test_a_first_page_that_failed_lets_the_job_back_off() -> None:
    service = Service({1: BUSY_ANSWER})
    assert isinstance(read(service), TryAgain)
    assert service.asked == [1]


@pytest.mark.parametrize("answer", [BUSY_ANSWER, SILENCE], ids=["busy", "silence"])
def test_a_later_page_that_failed_is_asked_for_again_in_its_place(answer: Evidence) -> None:
    context = FreeContext()
    service = Service({1: page(1, 2, 3, count=4), 2: [answer, page(4)]})
    seen = read(service, context)
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], True)
    assert service.asked == [1, 2, 2, 1]
    assert context.reported[0] != context.reported[1]


def test_a_later_page_that_fails_for_ever_gives_the_job_back() -> None:
    service = Service({1: page(1, 2, 3, count=4), 2: BUSY_ANSWER})
    assert isinstance(read(service), TryAgain)
    assert service.asked == [1] + [2] * TRIES_IN_PLACE


def test_a_look_back_that_fails_keeps_what_was_read() -> None:
    seen = read(Service({1: [page(1, 2, 3, count=4), BUSY_ANSWER], 2: page(4)}))
    assert (ids(seen), seen.whole) == ([1, 2, 3, 4], False)


def test_progress_is_told_while_there_is_more() -> None:
    context = FreeContext()
    read(Service({1: page(1, 2, 3, count=7), 2: page(4, 5, 6), 3: page(7)}), context)
    assert context.progress == ["read 3 of 7", "read 6 of 7"]


def overlapping(everything: list[int], step: int) -> list[list[int]]:
    """Return the pages of a list, each of which begins so many entries after the one before."""
    last = max(len(everything) - SIZE, 0)
    return [everything[at : at + SIZE] for at in range(0, last + step, step)]


@given(st.lists(st.integers(-4, 12), unique=True, min_size=1), st.integers(1, SIZE))
def test_pages_that_overlap_are_read_until_each_entry_was_seen(everything: list[int], step: int) -> None:
    pages = overlapping(everything, step)
    counted = {1: page(*pages[0], count=len(everything))}
    seen = read(Service(counted | {number: page(*one) for number, one in enumerate(pages[1:], start=2)}))
    assert set(ids(seen)) == {number for number in everything if number > 0}
    assert seen.whole == (min(everything) > 0)


PAGES = st.lists(st.lists(st.integers(-1, 12), max_size=SIZE + 1), max_size=12)


@given(PAGES, st.none() | st.integers(0, 15), st.booleans())
def test_no_service_keeps_us_reading_or_makes_us_claim_what_we_did_not_see(
    pages: list[list[int]], count: int | None, on_all_pages: bool
) -> None:
    counts = [count if on_all_pages or number == 0 else None for number in range(len(pages))]
    answers = {n: page(*one, count=counts[n - 1]) for n, one in enumerate(pages, start=1)}
    service = Service(answers)
    seen = read(service)
    assert len(service.asked) <= 2 * len(pages) + 5
    readable = {number for one in pages for number in one if number > 0}
    assert set(ids(seen)) <= readable
    if seen.whole and seen.announced is not None and seen.announced == len(set(ids(seen))):
        shown = [number for n in set(service.asked) for number in (answers[n].data.ids if n in answers else ())]
        assert all(number > 0 for number in shown)
