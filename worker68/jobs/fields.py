"""The fields of jobs, as msgspec structs: what each task takes, with its bounds, and what every job takes."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

#: Ids are 64-bit integers (contract, section 5); the bridge never gives 0 or a negative one.
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
FilePath = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
#: More in one job would make a reply that nobody wants to carry.
UserIds = Annotated[tuple[Id, ...], Meta(max_length=100_000)]
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


class SendMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chat: Chat
    text: Text
    quote: Quote | None = None
    mentions: tuple[Id, ...] = ()


class MuteMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group_id: Id
    user_id: Id
    seconds: Seconds


class SendFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chat: Chat
    path: FilePath


class SetGroupNotice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group_id: Id
    notice: Text
    announce: bool = True


class MuteGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``announcement_text``: what the group is told; left out, the words of the bridge's own client."""

    group_id: Id
    muted: bool = True
    announce: bool = True
    announcement_text: Text | None = None


class NoFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a task that concerns the account as a whole."""


class OneUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: Id


class OneGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group_id: Id


class OnlineStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``user_ids`` left out: all known members."""

    group_id: Id
    user_ids: UserIds | None = None


class RawRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of the service's HTTP API as it is. Whether ``path`` may be called is a matter of permission, not of form."""

    type: Name
    path: Annotated[str, Meta(min_length=1, max_length=1000)]
    data: dict[str, Any] | None = None
    proto_type: Name | None = None


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
