"""The fields that several tasks share, with their bounds, and those that every job takes; a task's own stand in its file."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

#: Ids are 64-bit integers (contract, section 5); the bridge never gives 0 or a negative one.
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
AccountName = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}\Z")]
ReplyTo = Annotated[str, Meta(pattern=r"^(stream:)?[A-Za-z0-9._-]{1,100}\Z")]

METADATA_LIMIT_BYTES = 4096


class Chat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A friend or a group to which one can send."""

    type: Literal["friend", "group"]
    id: Id

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The message that a send quotes (contract, section 1)."""

    message_id: Id
    text: str
    user_id: Id
    name: str
    custom_msg_id: str | int | None = None


class NoFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a task that concerns the account as a whole."""


class OneGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a task that concerns one group and nothing else of it."""

    group_id: Id


class OneUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a task that concerns one user and nothing else."""

    user_id: Id


def in_group(fields: Any) -> Chat:
    """Return the chat of a job whose field ``group_id`` names it."""
    return Chat(type="group", id=fields.group_id)


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that every job takes. None stands for "left out"."""

    account: AccountName | None = None
    job_id: str | None = None
    reply_to: ReplyTo | None = None
    send_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    reject_if_late: bool = False
    ordered: bool = True
    metadata: dict[str, Any] | None = None
