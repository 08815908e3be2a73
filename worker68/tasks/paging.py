"""Reading a list to its end, page by page, and saying honestly whether that is what was done.

In: how one page is asked for and read. Out: the rows, collected outside of memory, and whether they are the whole list. A list is
whole where its end was seen, every entry could be read, and nothing changed meanwhile as far as the service shows it; what it
announced is compared with the distinct rows, here to know the end, and again by the store. Never: more than three pages in
memory, and of the other rows more than a number each; an endless read.

``count`` and ``lastUpdateTime`` may be on the first page only [seen]. Whether a page may be short or empty in the middle, come
again, or hold entries of the page before, is [open]: so each of these is survived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from worker68.jobs.evidence import Evidence, judge_request
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed
from worker68.jobs.snapshot import ListKind, ListSeen, Row
from worker68.protocol.values import read_int
from worker68.tasks.turn import Rows, Turn, is_success

R = TypeVar("R", bound=Row)

#: The number of the first page, in every list of the service. [doc/seen]
FIRST_PAGE = 1
#: At the largest page of the protocol this is ten million entries.
MOST_PAGES = 10_000
#: So many pages in a row that hold entries, and none that was not read before, end the reading: the service turns in circles.
MOST_PAGES_OF_DOUBLES = 3
#: Of so many entries it is known which were read before: 60 MB. Of a longer list the further entries count as new.
MOST_KEYS = 1_000_000
#: A clock has moved after this, also one of whole seconds.
TICK_SECONDS = 1.1


@dataclass(frozen=True)
class ListSource(Generic[R]):
    """How a list is read. ``ask``: asks for the page of a number. ``entries``: a page's entries, None where its data is no page.

    ``page_size``: what is asked for, None where the service decides. ``paged`` is False for a list that one reply holds.
    """

    kind: ListKind
    ask: Callable[[Turn, int], Awaitable[Evidence]]
    entries: Callable[[Any], Sequence[msgspec.Raw] | None]
    read: Callable[[msgspec.Raw], R | None]
    page_size: int | None = None
    paged: bool = True


@dataclass(frozen=True)
class _Page:
    """``unreadable``: of each entry that could not be read, the hash of its bytes."""

    rows: list[Row]
    unreadable: list[int]
    announced: int | None
    changed: str | None

    @property
    def size(self) -> int:
        return len(self.rows) + len(self.unreadable)


async def read_list(
    turn: Turn, source: ListSource[Any], subject_id: int | None = None
) -> ListSeen | Outcome | TryAgain:
    """Read a list to its end."""
    first = await asyncio.to_thread(_read_page, source, judge_request(await source.ask(turn, FIRST_PAGE)))
    if not isinstance(first, _Page):
        return first
    reading = _Reading(turn, source, subject_id, turn.context.collect(source.kind.row), first)
    return await reading.go_on()


class _Entries:
    """The entries that were read, with their rows outside of memory."""

    def __init__(self, rows: Rows, source: ListSource[Any]) -> None:
        self.rows = rows
        self.key = attrgetter(*source.kind.key)
        self._seen: set[int] = set()
        #: Entries that were read, each once; those that could not be read among them.
        self.total = 0
        self.unreadable = 0
        #: Pages in a row that brought no row that was not read before.
        self.in_vain = 0

    async def add(self, page: _Page) -> None:
        await asyncio.to_thread(self.rows.add, page.rows)
        unreadable = set(page.unreadable) - self._seen
        read = {hash(self.key(row)) for row in page.rows} - self._seen
        new = read | unreadable
        if len(self._seen) < MOST_KEYS:
            self._seen |= new
        self.total += len(new)
        self.unreadable += len(unreadable)
        # Beside rows that were read before, one that cannot be read brings nothing: its bytes may hold the time.
        self.in_vain = 0 if read or (unreadable and not page.rows) else self.in_vain + 1


class _Reading:
    """A list of which the first page has come."""

    def __init__(self, turn: Turn, source: ListSource[Any], subject_id: int | None, rows: Rows, first: _Page) -> None:
        self._turn = turn
        self._source = source
        self._subject_id = subject_id
        self._entries = _Entries(rows, source)
        self._first = first
        self._announced = first.announced
        self._note: str | None = None

    async def go_on(self) -> ListSeen | Outcome | TryAgain:
        """Read the further pages until the end is seen or nothing more can be learnt."""
        page, number = self._first, FIRST_PAGE
        await self._keep(page)
        while not self._is_at_end(page, number):
            following = await self._ask(number + 1)
            if isinstance(following, _Page) and self._repeats(page, following):
                following = await self._ask(number + 1)  # once more: it may have been a slip
                if isinstance(following, _Page) and self._repeats(page, following):
                    self._end_at_repeat(page, number)
                    break
            if not isinstance(following, _Page):
                return following
            page, number = following, number + 1
            await self._keep(page)
        if number > FIRST_PAGE:
            await self._look_back()
        return self._finish()

    async def _keep(self, page: _Page) -> None:
        await self._entries.add(page)
        if page.announced is not None and page.announced != self._announced:
            if self._announced is not None:
                self._note = "the list changed while it was read"
            self._announced = page.announced
        if self._announced is not None and self._entries.total < self._announced:
            await self._turn.context.note_progress(f"read {self._entries.total} of {self._announced}")

    def _is_at_end(self, page: _Page, number: int) -> bool:
        """Whether nothing more can be expected: an empty page alone is no end where more was announced."""
        announced, total, in_vain = self._announced, self._entries.total, self._entries.in_vain
        if not self._source.paged or total == announced:
            return True
        if page.size == 0 and (announced is None or in_vain > 1):
            return True
        if announced is not None and total > announced and not self._is_full(page, number):
            return True
        if in_vain >= MOST_PAGES_OF_DOUBLES:
            self._note = self._note or f"{in_vain} pages in a row brought nothing new, the last of them page {number}"
            return True
        if number >= MOST_PAGES:
            self._note = f"not read further than {MOST_PAGES} pages"
            return True
        return False

    def _is_full(self, page: _Page, number: int) -> bool:
        """Whether another page may follow. Where the service decides how much a page holds, the first one shows it."""
        if self._source.page_size is not None:
            return page.size >= self._source.page_size
        return number > FIRST_PAGE and page.size >= self._first.size

    def _repeats(self, page: _Page, following: _Page) -> bool:
        """Whether a page, or the first one, has come again: then the service ignores the number."""
        return bool(following.rows) and any(self._holds_same(following, seen) for seen in (page, self._first))

    def _holds_same(self, one: _Page, other: _Page) -> bool:
        keys = [list(map(self._entries.key, page.rows)) for page in (one, other)]
        return keys[0] == keys[1] and one.unreadable == other.unreadable

    def _end_at_repeat(self, page: _Page, number: int) -> None:
        """A service may answer a page beyond the end with the last one; only a short one distinguishes that from a fault."""
        short = self._source.page_size is not None and not self._is_full(page, number)
        if self._announced is not None or not short:
            self._note = f"page {number + 1} came as one before it"

    async def _look_back(self) -> None:
        """Ask for the first page again: who has come or gone between two pages may have moved an entry past us."""
        first = await self._ask(FIRST_PAGE)
        if not isinstance(first, _Page):
            self._note = self._note or "it could not be checked whether the list changed while it was read"
        elif first.announced != self._first.announced or not await self._is_unchanged(first):
            self._note = self._note or "the list changed while it was read"

    async def _is_unchanged(self, first: _Page) -> bool:
        """Whether nothing has changed, by ``lastUpdateTime``, of which it is not known whether it is a time of the list [open].

        One that differs each time it is asked for is the service's clock. Then only the first page and the count speak.
        """
        if first.changed == self._first.changed:
            return True
        await self._turn.context.pause(TICK_SECONDS)
        again = await self._ask(FIRST_PAGE)
        return (
            isinstance(again, _Page)
            and again.changed not in (first.changed, self._first.changed)
            and again.announced == first.announced
            and again.rows == first.rows == self._first.rows
        )

    async def _ask(self, number: int) -> _Page | Outcome | TryAgain:
        finding = await self._turn.ask_on(partial(self._source.ask, self._turn, number))
        return await asyncio.to_thread(_read_page, self._source, finding)

    def _finish(self) -> ListSeen:
        note = self._note
        if self._entries.unreadable:
            entries = "1 entry" if self._entries.unreadable == 1 else f"{self._entries.unreadable} entries"
            note = note or f"{entries} could not be read"
        return ListSeen(
            self._source.kind,
            self._subject_id,
            self._entries.rows,
            whole=note is None,
            announced=self._announced,
            note=note,
        )


def _read_page(source: ListSource[Any], finding: Outcome | TryAgain) -> _Page | Outcome | TryAgain:
    if not isinstance(finding, Outcome) or not is_success(finding):
        return finding
    assert finding.result is not None
    data = finding.result["data"]
    entries = source.entries(data)
    if entries is None:
        what = source.kind.name.replace("_", " ")
        return failed(ErrorCode.REFUSED, f"the bridge's reply holds no list of {what}")
    rows: list[Row] = []
    unreadable: list[int] = []
    for entry in entries:
        if (row := source.read(entry)) is not None:
            rows.append(row)
        else:
            unreadable.append(hash(bytes(entry)))
    changed = getattr(data, "lastUpdateTime", None)
    return _Page(
        rows,
        unreadable,
        announced=read_int(getattr(data, "count", None)),
        changed=None if changed is None else str(changed),
    )
