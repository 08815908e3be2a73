"""The kinds of jobs: one row for each task, saying what it takes and how it may be treated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

import msgspec

from worker68.jobs.fields import Chat, MuteMember, SendMessage, SyncGroups


class JobClass(IntEnum):
    """In which order jobs of one account get their turn, whatever priority the producers set (contract, section 1)."""

    MODERATION = 0
    SEND = 1
    BROADCAST = 2
    SYNC = 3


class Nature(Enum):
    """What may be done with a job that was written and not answered (design, decision 1)."""

    SEND = "send"  # neither repeatable nor readable: in doubt
    CHANGE = "change"  # idempotent: repeated
    READ = "read"  # repeated


@dataclass(frozen=True)
class Kind:
    """A task: ``chat_of`` and ``subject_of`` tell from its fields the chat it acts in and what it must not run beside itself."""

    task: str
    fields: type[msgspec.Struct]
    job_class: JobClass
    nature: Nature
    chat_of: Callable[[Any], Chat | None]
    subject_of: Callable[[Any], str] = lambda fields: ""
    #: Whether the task sends a message, so that it needs a ``custom_msg_id`` and obeys the do-not-contact list.
    sends: bool = False
    #: Whether it calls the service's HTTP API, whose address the bridge must have told before.
    through_api: bool = False


def _in_group(fields: MuteMember) -> Chat:
    return Chat(type="group", id=fields.group_id)


KINDS: dict[str, Kind] = {
    kind.task: kind
    for kind in (
        Kind(
            "worker68.send_message",
            SendMessage,
            JobClass.SEND,
            Nature.SEND,
            chat_of=lambda fields: fields.chat,
            sends=True,
        ),
        Kind(
            "worker68.mute_member", MuteMember, JobClass.MODERATION, Nature.CHANGE, chat_of=_in_group, through_api=True
        ),
        Kind("worker68.sync_groups", SyncGroups, JobClass.SYNC, Nature.READ, chat_of=lambda fields: None),
    )
}
