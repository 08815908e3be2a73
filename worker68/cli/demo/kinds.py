"""The demo's jobs of the tasks that are not among the ordinary ones, and one that the account's settings do not permit."""

from __future__ import annotations

from dataclasses import replace

from worker68.cli.demo.jobs import MUTE, SEND, SYNC, DemoJob, friend
from worker68.cli.demo.stage import FILE_ROOT
from worker68.jobs.outcome import ErrorCode, Status
from worker68.jobs.task import Task
from worker68.simulator.population import FRIEND, OWNED_GROUP
from worker68.tasks import TASKS


def jobs_of_other_kinds() -> list[DemoJob]:
    """Return one job of each other task, by its example; what needs the account for itself (a restart) comes last."""
    others = (task for task in TASKS.values() if task.name not in (SEND, MUTE, SYNC))
    by_example = [_by_example(task) for task in sorted(others, key=lambda task: task.exclusive)]
    unmute = {"group_id": OWNED_GROUP, "muted": False, "announce": False}
    elsewhere = {"chat": friend(FRIEND), "path": f"{FILE_ROOT}/../private/keys.txt"}
    return [
        DemoJob("worker68.send_file", elsewhere, "a file from elsewhere", Status.FAILED, ErrorCode.NOT_PERMITTED),
        *by_example[:-1],
        DemoJob("worker68.mute_group", unmute, "the mute's end, unannounced"),
        by_example[-1],
    ]


def _by_example(task: Task) -> DemoJob:
    """Return a job of the task, with a title of its own where it sends a message or stops everything else."""
    job = DemoJob(task.name, dict(task.example))
    titled = job.message is not None or task.exclusive
    return replace(job, title=task.name.removeprefix("worker68.").replace("_", " ")) if titled else job
