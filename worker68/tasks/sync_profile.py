"""``worker68.sync_profile``: read the account's own profile (UserInfo [doc])."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import NoFields
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import User, describe_person
from worker68.protocol.values import read_id, read_text, read_time
from worker68.tasks.turn import Turn, data_of, holds_no


class _Profile(msgspec.Struct):
    userInfo: User
    commonResult: Any = None
    signature: Any = None


async def sync_profile(turn: Turn, _: NoFields) -> Outcome | TryAgain:
    finding = judge_request(await turn.ask(api.USER_INFO, reply_shape=_Profile))
    profile = data_of(finding)
    if profile is None:
        return finding
    if not isinstance(profile, _Profile) or read_id(profile.userInfo.uid) is None:
        return holds_no("profile")
    user = profile.userInfo
    signature = read_text(user.signature) or read_text(profile.signature)
    created_at = read_time(user.createTime)
    return succeeded({"profile": describe_person(user) | {"signature": signature, "created_at": created_at}})


TASK: Final = Task(
    "worker68.sync_profile",
    "Read the account's own profile.",
    NoFields,
    JobClass.SYNC,
    (read(sync_profile, api.USER_INFO.type),),
    result="`profile`",
    sync_name="profile",
)
