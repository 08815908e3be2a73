"""Which job a person means: ids as they are given, and short ids as they are shown.

In: a ``job_id``, its beginning, the Celery id of a message that asked for the job, or the job's number as ``@4711``. Out: the one
job, or an error that lists those that were meant. Every command that takes a job's id asks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import click

from worker68.store.engine import Engine
from worker68.store.reports import JobLine, JobReport, find_beginnings, find_jobs, load_reports

#: A shorter beginning is not looked for: a mistyped id must not hit another job by chance.
LEAST_BEGINNING: Final = 6
#: What of a UUID is shown: of a million jobs one in four thousand shares it.
SHOWN_OF_UUID: Final = 8
#: Other ids are shown whole up to this length; beyond it the job's number is shown: they often differ at their ends only.
SHOWN_WHOLE: Final = 16
#: An id that begins so is not shown: a command would take it for an option, or for a job's number.
_MISTAKEN: Final = ("-", "@")
#: So many jobs are named where several were meant.
NAMED: Final = 5

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER: Final = re.compile(r"@([0-9]{1,18})")


def find_job(engine: Engine, given: str, account: str | None = None, *, is_to_change: bool = False) -> JobReport | None:
    """Return the job that is meant, None where there is none. Raises ``UsageError`` where several are.

    A whole id counts before a beginning; a number is looked for beside whole ids, which may look like one. ``is_to_change``: of ids
    that are no UUIDs the beginning does not count. It is never shown as a short id, and one letter short it is another's id.
    """
    found = find_jobs(engine, given, account)
    if number := _NUMBER.fullmatch(given):
        found += load_reports(engine, [int(number[1])], account)
    if not found and len(given) >= LEAST_BEGINNING:
        found = load_reports(engine, find_beginnings(engine, given, account, NAMED + 1), account)
        if is_to_change and len(found) == 1 and not _UUID.fullmatch(found[0].job.job_id):
            found = []
    by_seq = {report.job.seq: report for report in found}
    if len(by_seq) > 1:
        raise click.UsageError(_ask_which(given, [report.job for report in by_seq.values()]))
    return next(iter(by_seq.values()), None)


def is_number(given: str) -> bool:
    """Whether this is a job's number, which no Celery message has as its id."""
    return _NUMBER.fullmatch(given) is not None


def shorten_ids(lines: Iterable[JobLine]) -> dict[int, str]:
    """Return for each job, by its number, a short id that every command takes.

    Two are the same only where the ids are, in different accounts.
    """
    uuids = {line.seq: line.job_id for line in lines if _UUID.fullmatch(line.job_id)}
    length = SHOWN_OF_UUID
    while len({job_id[:length] for job_id in uuids.values()}) < len(set(uuids.values())):
        length += 1
    return {line.seq: _shorten(line, length) for line in lines}


def shorten_id(job_id: str, seq: int) -> str:
    """Return one job's short id."""
    if _UUID.fullmatch(job_id):
        return job_id[:SHOWN_OF_UUID]
    is_one_word = job_id.isprintable() and " " not in job_id and not job_id.startswith(_MISTAKEN)
    return job_id if len(job_id) <= SHOWN_WHOLE and is_one_word else f"@{seq}"


def _shorten(line: JobLine, length: int) -> str:
    return line.job_id[:length] if _UUID.fullmatch(line.job_id) else shorten_id(line.job_id, line.seq)


def _ask_which(given: str, jobs: list[JobLine]) -> str:
    named = "; ".join(f"{one.job_id} (@{one.seq}, {one.account}, {one.status or one.state})" for one in jobs[:NAMED])
    more = ", and more" if len(jobs) > NAMED else ""
    count = f"{len(jobs)} jobs" if not more else f"more than {NAMED} jobs"
    say = "give --account" if len({one.job_id for one in jobs}) == 1 else "give more of the id, or the number"
    return f"{given!r} may be {count}: {named}{more}: {say}"
