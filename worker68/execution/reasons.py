"""Why a job waits, in words: for its row, the log and the command line. One wording for each reason, wherever it is found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final

from worker68.limits.limiter import Refusal
from worker68.limits.rates import Limits
from worker68.tasks import find_nearest_task

#: An attempt was spent. The row says until when, and what went wrong.
BACKS_OFF: Final = "backing off after an attempt"

ONE_SEND: Final = "the connection was lost with sends under way, and until one is proved they go one at a time"

#: So many ids are named at most.
_NAMED = 3


def refused(refusal: Refusal, limits: Limits) -> str:
    """Say which limit refuses a job."""
    if refusal.limit == "busy":
        what = (
            f"the service keeps answering {refusal.call} with busy" if refusal.call else "the service keeps saying busy"
        )
        return f"{what}: only a probe goes now and then, until one succeeds"
    if refusal.limit == "call":
        return f"the service answered {refusal.call} with busy: calls of this kind are slowed down, the others are not"
    rate = getattr(limits, refusal.limit)
    of = f"limit {refusal.limit} of the account's settings" + (f" ({rate})" if rate is not None else "")
    return of if refusal.pace >= 1 else f"{of}, slowed down to {refusal.pace:.0%} of it after busy answers"


def not_before(when: dt.datetime) -> str:
    """Say that a job is not due yet."""
    return f"not before {when:%Y-%m-%d %H:%M:%S} UTC"


def unknown_task(task: str, until: dt.datetime) -> str:
    """Say that a job waits for a worker of a newer version."""
    near = find_nearest_task(task)
    hint = f"; did you mean {near}?" if near else ""
    return f"no worker knows the task {task}{hint}; it waits for a newer worker until {until:%Y-%m-%d %H:%M:%S} UTC"


def held_by_unknown(task: str) -> str:
    """Say that a job, and its lane with it, waits for a worker of a newer version."""
    return f"the worker that owns the account does not know the task {task}: it waits for a newer one, and its lane with it"


def not_written(reason: str) -> str:
    """Say that a job had its turn and was put back, because its frame could not be written then."""
    return f"it had its turn, but was not written: {reason}"


def behind(job_ids: Iterable[str]) -> str:
    """Say that jobs of the same lane are under way."""
    ids = list(job_ids)
    named = ", ".join(ids[:_NAMED]) + (" and others" if len(ids) > _NAMED else "")
    return f"behind {named}, which is under way" if len(ids) < 2 else f"behind {named}, which are under way"


class RowReasons:
    """What the rows of waiting jobs say, so that a reason is written once it lasts, and none stays that holds no more.

    A look at all lanes may come in parts; ``ends`` says of each whether it is the last of its look.
    """

    def __init__(self) -> None:
        self._held: dict[int, str | None] = {}  # at the last look
        self._seen: dict[int, str | None] = {}  # in the parts of this one so far
        self._rows: dict[int, str | None] = {}  # as far as this owner has written them

    def changes(self, held: Mapping[int, str | None], ends: bool = True) -> dict[int, str | None]:
        """Return what to write where ``held`` is why the first job of each lane waits now, None where nothing holds it up."""
        over: dict[int, str | None] = {seq: None for seq in held if (said := self._rows.get(seq)) and said != held[seq]}
        if ends:
            first_before = self._rows.keys() - self._seen.keys() - held.keys()
            over |= {seq: None for seq in first_before if self._rows[seq]}
        lasting = {seq: words for seq, words in held.items() if seq in self._held and self._held[seq] == words}
        return over | {
            seq: words for seq, words in lasting.items() if seq not in self._rows or self._rows[seq] != words
        }

    def note(self, held: Mapping[int, str | None], written: Mapping[int, str | None], ends: bool = True) -> None:
        """This part of the look is over, and what changed is written."""
        self._seen.update(held)
        self._rows.update(written)
        if ends:
            self._held, self._seen = self._seen, {}
            self._rows = {seq: words for seq, words in self._rows.items() if seq in self._held}
