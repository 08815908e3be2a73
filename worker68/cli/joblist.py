"""The list of jobs as a person reads it: what waits for what on top, the first of each lane first, a row for each job.

In: the filters of ``worker68 jobs list``. Out: lines of jobs with their reasons, and tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
import msgspec
from rich.console import Console

from worker68.cli.identify import shorten_id, shorten_ids
from worker68.cli.output import open_console, print_table, show_length, show_time
from worker68.cli.replies import describe_error
from worker68.cli.why import MOST_LOOKED_UP, WAITING, Why, explain_waiting, name_whole
from worker68.clock import utc_now
from worker68.jobs.job import is_shared_lane
from worker68.jobs.states import State
from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.figures import count_waiting_jobs, find_waiting_accounts
from worker68.store.reports import JobLine, list_jobs, load_lines
from worker68.store.standing import COUNTED_AHEAD, Standing, count_in_lanes, list_waiting

#: From this width on a whole id has its place.
WIDE: Final = 160


@dataclass(frozen=True)
class Listing:
    """What was found. ``standing``: where those that wait in lanes stand, by their numbers."""

    lines: list[JobLine]
    why: Mapping[int, Why]
    standing: Mapping[int, Standing]
    complete: bool


def find_listing(
    engine: Engine,
    settings: Settings,
    *,
    account: str | None,
    state: str | None,
    status: str | None,
    limit: int,
    short: bool = False,
) -> Listing:
    """Return the jobs that were asked for: of those that wait the first of each lane first, of all others the newest first.

    ``short``: other jobs are called by their short ids.
    """
    standing: list[Standing] = []
    if state in WAITING and status is None:
        accounts = [account] if account is not None else find_waiting_accounts(engine)
        standing = list_waiting(engine, accounts, state, limit)
        lines, complete = load_lines(engine, [one.seq for one in standing]), True
    else:
        lines, complete = list_jobs(engine, account=account, state=state, status=status, limit=limit)
    why = explain_waiting(engine, settings, lines, shorten_id if short else name_whole)
    lines = [msgspec.structs.replace(line, reason=_words(line, why)) for line in lines]
    return Listing(lines, why, {one.seq: one for one in standing}, complete)


def print_summary(engine: Engine, settings: Settings, account: str | None) -> None:
    """Print for each account how many of its jobs are in which state, and for each cause how many wait for it."""
    accounts = [account] if account is not None else find_waiting_accounts(engine)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    oldest: dict[str, float] = {}
    for row in count_waiting_jobs(engine, accounts):
        counts[row.account][row.state] += row.number
        if row.state == State.READY:
            oldest[row.account] = max(oldest.get(row.account, 0.0), (utc_now() - row.since).total_seconds())
    causes = _count_causes(engine, settings, accounts)
    rows: list[tuple[str, str, str]] = []
    for name, states in counts.items():
        waiting = ", ".join(f"{states[state]} {state}" for state in State if states[state])
        old = f"; the oldest ready one has waited for {show_length(oldest[name])}" if name in oldest else ""
        rows.append((name, str(sum(states.values())), f"{waiting}{old}"))
        rows += [("", number, cause) for cause, number in causes[name].items()]
    if rows:
        print_table(("account", "jobs", "wait for"), rows)
        click.echo()


def _count_causes(engine: Engine, settings: Settings, accounts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return by account and cause how many jobs wait in the lanes that it holds up, the most first."""
    heads = [one for one in list_waiting(engine, accounts, None, MOST_LOOKED_UP) if one.place == 0]
    lines = load_lines(engine, [one.seq for one in heads])
    why = explain_waiting(engine, settings, lines)
    lanes = count_in_lanes(engine, [(one.account, one.lane) for one in heads if one.lane is not None])
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in heads:
        if one.seq in why:
            numbers[one.account][why[one.seq].cause] += 1 if one.lane is None else lanes[one.account, one.lane]
    many = len(heads) >= MOST_LOOKED_UP or any(number > COUNTED_AHEAD for number in lanes.values())
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for account, causes in numbers.items():
        for cause in sorted(causes, key=causes.__getitem__, reverse=True):
            found[account][cause] = f"{causes[cause]}{'+' if many else ''}"
    return found


def is_wide(console: Console) -> bool:
    """Whether whole ids have their place."""
    return console.width >= WIDE


def print_jobs(listing: Listing, console: Console | None = None) -> None:
    """Print a row for each job; whole ids where there is room for them."""
    console = console or open_console()
    wide = is_wide(console)
    ids = {line.seq: line.job_id for line in listing.lines} if wide else shorten_ids(listing.lines)
    firsts = {(one.account, one.lane): seq for seq, one in listing.standing.items() if one.place == 0}
    rows = []
    for line in listing.lines:
        why = listing.why.get(line.seq)
        one = listing.standing.get(line.seq)
        first = firsts.get((one.account, one.lane)) if one is not None and _is_ordered(one) else None
        # What the first of its lane says already is not said again.
        known = first not in (None, line.seq) and not wide
        words = describe_job_error(line) or line.reason if why is None else None if known else why.words
        rows.append(
            (
                ids[line.seq],
                line.account,
                line.task.removeprefix("worker68."),
                name_chat(line),
                _name_place(one, ids.get(first) if first and not wide else None) if one else line.status or line.state,
                line.attempts,
                show_time(line.received_at),
                words,
            )
        )
    place = "lane" if listing.standing else "state"
    columns = ("job", "account", "task", "chat", place, "tries", "received (UTC)", "why")
    print_table(columns, rows, console, optional=("lane", "tries", "received (UTC)"))


def _name_place(one: Standing, first: str | None) -> str | None:
    """Return a job's place in its lane: `first`, or how far it is behind the first one."""
    if not _is_ordered(one):
        return None
    if one.place == 0:
        return "first"
    return f"+{one.place}" + (f" {first}" if first is not None else "")


def _is_ordered(one: Standing) -> bool:
    """Whether it waits for those before it: it stands in a lane, and has not opted out of its order."""
    return one.lane is not None and not is_shared_lane(one.lane)


def name_chat(job: JobLine) -> str | None:
    return f"{job.chat_type} {job.chat_id}" if job.chat_id is not None else None


def describe_job_error(job: JobLine) -> str | None:
    if job.error_code is None:
        return None
    error = {"code": job.error_code, "message": job.error_message}
    return describe_error(error | ({"bridge_code": job.bridge_code} if job.bridge_code is not None else {}))


def _words(line: JobLine, why: Mapping[int, Why]) -> str | None:
    return why[line.seq].words if line.seq in why else line.reason
