"""The demo's jobs are what they say: all kinds, every way to end, and each text once, so that a double is seen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from worker68.cli.demo.jobs import (
    DemoJob,
    instructive_jobs,
    jobs_of_other_kinds,
    jobs_without_verdict,
    ordinary_jobs,
)
from worker68.jobs.outcome import ErrorCode, Status
from worker68.tasks import TASKS


@pytest.mark.parametrize("count", [0, 1, 40, 100])
def test_as_many_ordinary_jobs_as_asked_for(count: int) -> None:
    jobs = ordinary_jobs(count)
    assert len(jobs) == count
    assert all(job.status is Status.SUCCEEDED and not job.title for job in jobs)


def every_job(ordinary: int) -> list[DemoJob]:
    return [*instructive_jobs(), *jobs_of_other_kinds(), *ordinary_jobs(ordinary), *jobs_without_verdict()]


def test_all_kinds_and_all_statuses_are_there() -> None:
    jobs = every_job(40)
    assert {job.task for job in jobs} == set(TASKS)
    assert {job.status for job in jobs} == set(Status)


def test_it_knows_of_each_job_whether_it_sends() -> None:
    for job in every_job(40):
        if job.error is not ErrorCode.INVALID_JOB:
            kind = TASKS[job.task]
            assert kind.sends(msgspec.convert(job.fields, _own(kind.fields))) is (job.message is not None), job.label


def test_a_text_belongs_to_one_job() -> None:
    jobs = every_job(100)
    keys = {
        (job.fields.get("job_id") or index, job.message) for index, job in enumerate(jobs) if job.message is not None
    }
    assert max(Counter(text for _, text in keys).values()) == 1
    assert any("\n" in text for _, text in keys)


def _own(fields: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same struct, without an objection to the fields that every job takes."""
    return msgspec.defstruct("Own", [], bases=(fields,), forbid_unknown_fields=False, frozen=True)


@pytest.mark.parametrize(
    ("status", "error", "met"),
    [
        ("failed", {"code": "refused"}, True),
        ("failed", {"code": "not_sent"}, False),
        ("in_doubt", {"code": "refused"}, False),
        ("succeeded", None, False),
    ],
)
def test_only_the_expected_end_is_as_expected(status: str, error: dict[str, Any] | None, met: bool) -> None:
    job = DemoJob("worker68.send_message", {}, "x", Status.FAILED, ErrorCode.REFUSED)
    assert job.is_met_by({"status": status, "error": error}) is met
