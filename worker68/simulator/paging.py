"""How a list of the world is cut into pages, and all that can go wrong with that.

In: a list in its order, which page is asked for, the knobs. Out: the reply's fields for that page; where the knobs say so, the
world changed behind it. ``Paging`` is part of ``Faults``: ``simulator.faults.paging.short_by = 1``. Never: a fault that was not
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from worker68.simulator.knobs import Countdown, choice, number, switch, times
from worker68.simulator.shapes import Json
from worker68.simulator.world import Refusal, Refused, now_ms

T = TypeVar("T")

CountType = Literal["documented", "number", "string"]

#: How the last entry of each page cannot be read: without its uid; with null or letters as its uid; null instead of an entry.
Unreadable = Literal["no_uid", "null_uid", "garbage_uid", "null_entry"]

FirstPage = Literal["1", "0", "both"]


@dataclass(slots=True)
class Paging:
    """The knobs of paged lists: contacts, members, requests to join. They hold for all three. Pages are counted from 1 here."""

    # Which entries a page holds
    repeats: Countdown = times(
        "the next pages behind a first one are the page before them again; what they should have held is on no page"
    )
    only_first: bool = switch("every page is the first one, for ever")
    short_by: int = number("every page holds so many entries fewer than asked for, and nothing is lost")
    overlap: int = number("every page begins with the last so many entries of the one before, and nothing is lost")
    empty_page: int = number("this page is empty, and the next one goes on where the one before ended; 0: none")
    leaves: Countdown = times(
        "after each of the next pages a person on it is gone from the world: the first of the next page is on no page"
    )
    joins: Countdown = times(
        "after each of the next pages a person is new at the head of the list: the last of the page comes twice"
    )
    unreadable: Unreadable | None = choice("how the last entry of each page cannot be read", get_args(Unreadable), None)

    first_page: FirstPage = choice("the number of the first page; both: it has two", get_args(FirstPage), "1")

    # What a page says of the list
    count_off_by: int = number("the announced count is so many too high, or too low")
    count_missing: bool = switch("no count is announced")
    count_on_every_page: bool = switch("the count is on every page; it follows the world where that changes")
    count_type: CountType = choice(
        "how the count is written, where the documented list may have the other", get_args(CountType), "documented"
    )
    moving_update_time: bool = switch("lastUpdateTime is on every page, a little later each time")
    clock_as_update_time: bool = switch("lastUpdateTime is the time at which it is asked for")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A paged list of the world: what is in it, how it is written, and how it can change."""

    key: str
    entries: Sequence[T]
    write: Callable[[T], Json]
    documented_count: Literal["number", "string"]
    leave: Callable[[T], bool]
    """Take an entry out of the world; False for one that cannot go."""
    join: Callable[[], None]
    """Put a new person in front."""
    changed_ms: int | None = None


def serve(listing: Listing[T], paging: Paging, *, position: int, size: int) -> Json:
    """Return the fields of the page at ``position``, counted from 0. Raise ``Refusal`` for a page that cannot be."""
    if paging.first_page == "0" or (paging.first_page == "both" and position == -1):
        position += 1
    if position < 0 or size < 1:
        raise Refusal(Refused.INVALID)
    shown = _cut(listing.entries, paging, position, size)
    entries: list[Json | None] = [listing.write(one) for one in shown]
    if entries and paging.unreadable is not None:
        entries[-1] = _spoil(listing.write(shown[-1]), paging.unreadable)
    fields: Json = {listing.key: entries} if entries else {}
    fields |= _announce(listing, paging, position)
    if paging.leaves.take():
        any(listing.leave(one) for one in shown)  # the first that can go
    if paging.joins.take():
        listing.join()
    return fields


def _cut(everything: Sequence[T], paging: Paging, position: int, size: int) -> Sequence[T]:
    if paging.only_first:
        position = 0
    elif position > 0 and paging.repeats.take():
        position -= 1
    if paging.empty_page and position + 1 >= paging.empty_page:
        if position + 1 == paging.empty_page:
            return ()
        position -= 1
    size = max(1, size - paging.short_by)
    start = position * max(1, size - paging.overlap)
    return everything[start : start + size]


def _announce(listing: Listing[T], paging: Paging, position: int) -> Json:
    fields: Json = {}
    if not paging.count_missing and (position == 0 or paging.count_on_every_page):
        count = len(listing.entries) + paging.count_off_by
        count_type = listing.documented_count if paging.count_type == "documented" else paging.count_type
        fields["count"] = count if count_type == "number" else str(count)
    if listing.changed_ms is not None and (position == 0 or paging.moving_update_time):
        changed_ms = now_ms() if paging.clock_as_update_time else listing.changed_ms
        fields["lastUpdateTime"] = str(changed_ms + position)
    return fields


def _spoil(entry: Json, how: Unreadable) -> Json | None:
    """Make an entry unreadable. Its uid is in a member's ``user``, a contact's ``userInfo``, a group request's ``fromUser``."""
    if how == "null_entry":
        return None
    user = next(entry[key] for key in ("user", "userInfo", "fromUser") if key in entry)
    if how == "no_uid":
        del user["uid"]
    else:
        user["uid"] = None if how == "null_uid" else "somebody"
    return entry
