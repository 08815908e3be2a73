"""``worker68.sync_contact``: read one contact, or a stranger (ContactsDetail [doc]); nothing of it goes into the tables."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import OneUser
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import User, describe_person, is_friend
from worker68.protocol.values import read_id, read_int, read_time
from worker68.tasks.turn import Turn, data_of, holds_no


class _ContactBase(msgspec.Struct):
    userInfo: User
    commonGroupNum: Any = None


class _Contact(msgspec.Struct):
    contactsDetailBase: _ContactBase
    commonResult: Any = None


async def sync_contact(turn: Turn, fields: OneUser) -> Outcome | TryAgain:
    """Read one contact; ``friend`` says whether it is one."""
    finding = judge_request(await turn.ask(api.CONTACTS_DETAIL, {"targetUid": fields.user_id}, reply_shape=_Contact))
    detail = data_of(finding)
    if detail is None:
        return finding
    if not isinstance(detail, _Contact) or read_id(detail.contactsDetailBase.userInfo.uid) is None:
        return holds_no("contact")
    base = detail.contactsDetailBase
    user = base.userInfo
    status = user.userOnOrOffline if isinstance(user.userOnOrOffline, dict) else {}
    contact = describe_person(user) | {
        "friend": is_friend(user),
        "online": status.get("online") is True,
        "last_seen_at": read_time(status.get("createTime")),
        "created_at": read_time(user.createTime),
        "common_groups": read_int(base.commonGroupNum) or 0,
    }
    return succeeded({"contact": contact})


TASK: Final = Task(
    "worker68.sync_contact",
    "Read one contact, or a stranger.",
    OneUser,
    JobClass.SYNC,
    (read(sync_contact, api.CONTACTS_DETAIL.type),),
    result="`contact`",
    example={"user_id": 7237423},
    subject_of=lambda fields: str(fields.user_id),
    sync_name="contact",
)
