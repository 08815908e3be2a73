"""The actions: from a job to frames at the bridge, and from what was seen to what it proves.

In: a job and the link of its account. Out: an outcome, another try, or the rows that a sync saw. Never: SQL, limits, or when.
One action for each task; ``may_not_write`` is asked on the I/O thread just before the first byte leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker68.bridge.calls import Guard
from worker68.bridge.link import Link
from worker68.bridge.messages import TextMessage
from worker68.clock import Deadline
from worker68.jobs.fields import MuteMember, SendMessage
from worker68.jobs.job import Job
from worker68.jobs.judge import judge_request, judge_send
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain, failed, succeeded
from worker68.jobs.snapshot import GROUPS, GroupRow, ListSeen
from worker68.settings import AccountSettings

Finding = Outcome | TryAgain | ListSeen
Action = Callable[[Link, Job, AccountSettings, Guard], Finding]

#: ``shutupTime`` that lifts a mute. [seen]
LIFT = -1

#: ``memberType``: a number in getGroups, a word in GroupDetail; the default (host) may be left out. [doc/seen]
ROLES: Mapping[Any, str] = {0: "host", 1: "admin", 2: "member", "HOST": "host", "MANAGE": "admin", "MEMBER": "member"}


def send_message(link: Link, job: Job, account: AccountSettings, may_not_write: Guard) -> Finding:
    """Send a text and wait for the evidence that the account's settings ask for."""
    fields = job.fields
    assert isinstance(fields, SendMessage)
    assert job.custom_msg_id is not None
    message = TextMessage(fields.chat, fields.text, fields.quote, fields.mentions)
    call = link.send(message, str(job.custom_msg_id), confirm=account.confirm, guard=may_not_write)
    seconds = account.verdict_timeout if account.confirm == "verdict" else account.reply_timeout
    return judge_send(call.wait(Deadline.after(seconds)), job.custom_msg_id, account.confirm)


def mute_member(link: Link, job: Job, account: AccountSettings, may_not_write: Guard) -> Finding:
    """Mute a member for some seconds, or lift it. Idempotent; the protocol shows it nowhere, so it cannot be read back."""
    fields = job.fields
    assert isinstance(fields, MuteMember)
    data = {"targetUid": fields.user_id, "shutupTime": fields.seconds or LIFT, "groupId": fields.group_id}
    call = link.request("GroupMemberShutup", "/group/groupMemberShutup", data, guard=may_not_write)
    finding = judge_request(call.wait(Deadline.after(account.reply_timeout)))
    return succeeded({"seconds": fields.seconds}) if _is_success(finding) else finding


def sync_groups(link: Link, job: Job, account: AccountSettings, may_not_write: Guard) -> Finding:
    """Read the account's groups: one reply holds them all."""
    call = link.call("getGroups", guard=may_not_write)
    finding = judge_request(call.wait(Deadline.after(account.reply_timeout)))
    if not isinstance(finding, Outcome) or finding.status is not Status.SUCCEEDED:
        return finding
    assert finding.result is not None
    listed = finding.result["data"]
    if not isinstance(listed, list):
        return failed(ErrorCode.REFUSED, "the bridge's reply to getGroups holds no list of groups")
    rows = [row for entry in listed if (row := read_group(entry)) is not None]
    whole = len(rows) == len(listed)
    return ListSeen(GROUPS, None, rows, whole, announced=None, note=None if whole else "entries could not be read")


def read_group(entry: Any) -> GroupRow | None:
    """Return a group as getGroups gives it, None where it has no usable id. Fields at their default are left out. [doc/seen]"""
    if not isinstance(entry, dict) or (group_id := _integer(entry.get("id"))) is None:
        return None
    notice = entry.get("groupNotice")
    return GroupRow(
        group_id=group_id,
        name=_text(entry.get("name")) or "",
        host_id=_integer(entry.get("hostId")),
        member_count=_integer(entry.get("memberCount")),
        role=_role(entry.get("memberType", 0)),
        muted=entry.get("bfShutup") is True,
        notice=_text(notice.get("notice")) if isinstance(notice, dict) else None,
    )


def _role(value: Any) -> str | None:
    return ROLES.get(value) if isinstance(value, int | str) else None


def _integer(value: Any) -> int | None:
    """Return a 64-bit integer that the bridge wrote as a number or as a string. [doc]"""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def _text(value: Any) -> str | None:
    """Return text that PostgreSQL can keep: it refuses NUL."""
    return value.replace("\x00", "") if isinstance(value, str) else None


def _is_success(finding: Outcome | TryAgain) -> bool:
    return isinstance(finding, Outcome) and finding.status is Status.SUCCEEDED


ACTIONS: Mapping[str, Action] = {
    "worker68.send_message": send_message,
    "worker68.mute_member": mute_member,
    "worker68.sync_groups": sync_groups,
}
