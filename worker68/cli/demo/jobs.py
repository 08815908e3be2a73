"""The jobs of the demo, each with what should come of it.

In: how many ordinary ones. Out: what a producer sends, and the status and error that are expected. Never: how it is sent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Final

from worker68.cli.demo.stage import FILE_ROOT
from worker68.clock import utc_now
from worker68.jobs.outcome import ErrorCode, Status
from worker68.jobs.task import Task
from worker68.simulator.population import (
    FRIEND,
    MANAGED_GROUP,
    MUTABLE_MEMBER,
    OTHER_FRIEND,
    OWNED_GROUP,
    PLAIN_GROUP,
)
from worker68.tasks import TASKS

SEND: Final = "worker68.send_message"
MUTE: Final = "worker68.mute_member"
SYNC: Final = "worker68.sync_groups"

#: The reply list to which all replies go.
REPLY_TO: Final = "demo"

#: A chat that the simulated account does not have.
UNKNOWN_GROUP: Final = 999_999
#: How long the job waits that is to be sent later.
LATER_SECONDS: Final = 2.0


@dataclass(frozen=True)
class DemoJob:
    """A job to send. ``title`` is empty for the ordinary ones; ``revoke``: cancel it, as any Celery producer may."""

    task: str
    fields: dict[str, Any]
    title: str = ""
    status: Status = Status.SUCCEEDED
    error: ErrorCode | None = None
    revoke: bool = False

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"account": "main", "reply_to": REPLY_TO, **self.fields}

    @property
    def label(self) -> str:
        """The job in a few words: its title, or its task and where it acts."""
        if self.title:
            return self.title
        name, fields = self.task.removeprefix("worker68."), self.fields
        if "chat" in fields:
            return f"{name} to {fields['chat']['type']} {fields['chat']['id']}"
        if "group_id" in fields:
            return f"{name} in group {fields['group_id']}"
        return name

    @property
    def message(self) -> str | None:
        """What a chat gets to see of it: a text, a file's path, an announcement; None where it sends nothing."""
        announced = self.fields.get("notice") or self.fields.get("announcement_text")
        sent = self.fields.get("text") or self.fields.get("path" if "chat" in self.fields else "")
        return sent or (announced if self.fields.get("announce", True) else None)

    def is_met_by(self, reply: dict[str, Any]) -> bool:
        """Say whether the reply is the expected one."""
        code = (reply["error"] or {}).get("code")
        return bool(reply["status"] == self.status and code == self.error)


def ordinary_jobs(count: int) -> list[DemoJob]:
    """Return jobs of all three kinds, most of them messages, to two groups and two friends in turn."""
    chats = cycle((group(MANAGED_GROUP), friend(FRIEND), group(OWNED_GROUP), friend(OTHER_FRIEND)))
    return list(islice(_ordinary(chats), count))


def _ordinary(chats: Iterator[dict[str, Any]]) -> Iterator[DemoJob]:
    for number, kind in enumerate(cycle((SEND, SEND, MUTE, SEND, SEND, SEND, SYNC, SEND, SEND, SEND)), start=1):
        if kind == SEND:
            yield DemoJob(SEND, {"chat": next(chats), "text": f"message {number} of the demo"})
        elif kind == MUTE:
            yield DemoJob(MUTE, {"group_id": OWNED_GROUP, "user_id": MUTABLE_MEMBER, "seconds": 60 + number})
        else:
            yield DemoJob(SYNC, {})


def instructive_jobs() -> list[DemoJob]:
    """Return jobs that show the other ways in which a job may end. Their times count from now."""
    now = utc_now()
    once = {"job_id": "order-4711", "chat": group(MANAGED_GROUP)}
    return [
        DemoJob(SEND, {**once, "text": "your order is on its way"}, "job_id order-4711"),
        DemoJob(SEND, {**once, "text": "your order is on its way"}, "the same again"),
        DemoJob(
            SEND,
            {**once, "text": "your order is delayed"},
            "order-4711, other text",
            Status.FAILED,
            ErrorCode.CONFLICT,
        ),
        DemoJob(
            SEND,
            {"chat": {"type": "grup", "id": "389284"}, "txt": "hello", "send_at": "tomorrow"},
            "every field wrong",
            Status.FAILED,
            ErrorCode.INVALID_JOB,
        ),
        DemoJob(
            SEND,
            {"chat": group(PLAIN_GROUP), "text": "may I?"},
            "to a muted group",
            Status.FAILED,
            ErrorCode.NOT_SENT,
        ),
        DemoJob(
            SEND,
            {
                "chat": friend(FRIEND),
                "text": "yesterday's news",
                "expires_at": (now - dt.timedelta(hours=1)).isoformat(),
            },
            "expired an hour ago",
            Status.EXPIRED,
        ),
        DemoJob(
            SEND,
            {
                "chat": friend(OTHER_FRIEND),
                "text": "as agreed",
                "send_at": (now + dt.timedelta(seconds=LATER_SECONDS)).isoformat(),
            },
            f"send_at in {LATER_SECONDS:g} s",
        ),
        DemoJob(
            SEND,
            {"chat": friend(FRIEND), "text": "never mind", "send_at": (now + dt.timedelta(hours=1)).isoformat()},
            "send_at in 1 h, revoked",
            Status.CANCELLED,
            revoke=True,
        ),
    ]


def jobs_without_verdict() -> list[DemoJob]:
    """Return jobs that wait in vain for a verdict. They come last, when the bridge says nothing more about messages."""
    return [
        DemoJob(
            SEND,
            {"chat": group(UNKNOWN_GROUP), "text": "is anybody there?"},
            "to an unknown group",
            Status.FAILED,
            ErrorCode.REFUSED,
        ),
        DemoJob(
            SEND,
            {"chat": group(OWNED_GROUP), "text": "did you get this?"},
            "the bridge falls silent",
            Status.IN_DOUBT,
            ErrorCode.NO_VERDICT,
        ),
    ]


def jobs_of_other_kinds() -> list[DemoJob]:
    """Return one job of each other task, by its example, and one that the account's settings do not permit.

    What needs the account for itself (a restart) comes last.
    """
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


def group(chat_id: int) -> dict[str, Any]:
    return {"type": "group", "id": chat_id}


def friend(chat_id: int) -> dict[str, Any]:
    return {"type": "friend", "id": chat_id}
