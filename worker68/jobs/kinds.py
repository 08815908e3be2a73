"""The kinds of jobs: one row for each task, saying what it takes and how it may be treated."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Literal

import msgspec

from worker68.jobs import api
from worker68.jobs.fields import (
    Chat,
    MuteGroup,
    MuteMember,
    NoFields,
    OneGroup,
    OneUser,
    OnlineStatus,
    RawRequest,
    SendFile,
    SendMessage,
    SetGroupNotice,
)

#: Under which limit of its account a frame is written (contract, section 3, LIMITS).
LimitClass = Literal["send", "moderate", "read"]


class JobClass(IntEnum):
    """In which order jobs of one account get their turn, whatever priority the producers set (contract, section 1)."""

    MODERATION = 0
    SEND = 1
    BROADCAST = 2
    SYNC = 3


class Nature(Enum):
    """What may be done with a step that was written and not answered (design, decision 1)."""

    SEND = "send"  # neither repeatable nor readable: in doubt
    CHANGE = "change"  # idempotent: repeated, and read back where the protocol shows it
    READ = "read"  # repeated


@dataclass(frozen=True)
class Step:
    """One thing that a job does at the bridge, with attempts of its own.

    ``message``: it sends a message to the job's chat. ``through_api``: it calls the service's HTTP API, whose address the bridge
    must have told before. ``needs_login``: it goes on from the client to the service.
    """

    nature: Nature
    limit: LimitClass
    message: bool = False
    through_api: bool = False
    needs_login: bool = True


_MESSAGE = Step(Nature.SEND, "send", message=True)
_CHANGE = Step(Nature.CHANGE, "moderate", through_api=True)
_READ = Step(Nature.READ, "read", through_api=True)
_ASK_BRIDGE = Step(Nature.READ, "read")
_RESTART = Step(Nature.CHANGE, "moderate", needs_login=False)
#: Nobody knows what a call that is not documented does: it is treated as one that must not be repeated.
_UNKNOWN_CALL = Step(Nature.SEND, "moderate", through_api=True)


def _no_chat(_: Any) -> Chat | None:
    return None


@dataclass(frozen=True)
class Kind:
    """A task: ``chat_of`` and ``subject_of`` tell from its fields the chat it acts in and what it must not run beside itself.

    ``steps_of``: what it does, in order. ``exclusive``: while it runs nothing else of its account is begun, and it waits until no
    send or change of the account is under way.
    """

    task: str
    fields: type[msgspec.Struct]
    job_class: JobClass
    steps_of: Callable[[Any], tuple[Step, ...]]
    chat_of: Callable[[Any], Chat | None] = _no_chat
    subject_of: Callable[[Any], str] = lambda fields: ""
    exclusive: bool = False

    def sends(self, fields: Any) -> bool:
        """Whether it sends a message, so that it needs a ``custom_msg_id`` and obeys the do-not-contact list."""
        return any(step.message for step in self.steps_of(fields))


def _always(*steps: Step) -> Callable[[Any], tuple[Step, ...]]:
    return lambda fields: steps


def _then_announce(fields: SetGroupNotice | MuteGroup) -> tuple[Step, ...]:
    """Setting it does not tell the group; a message of its own does. [doc]"""
    return (_CHANGE, _MESSAGE) if fields.announce else (_CHANGE,)


def _in_chat(fields: SendMessage | SendFile) -> Chat:
    return fields.chat


def _in_group(fields: SetGroupNotice | MuteGroup | MuteMember) -> Chat:
    return Chat(type="group", id=fields.group_id)


def _by_group(fields: OneGroup | OnlineStatus) -> str:
    return str(fields.group_id)


def _by_user(fields: OneUser) -> str:
    return str(fields.user_id)


def _steps_of_request(fields: RawRequest) -> tuple[Step, ...]:
    known = api.DOCUMENTED.get(fields.path)
    if known is None or known.type != fields.type:
        return (_UNKNOWN_CALL,)
    return (_CHANGE,) if known.changes else (_READ,)


def _subject_of_request(fields: RawRequest) -> str:
    """Reads of the same thing, and changes by the same path, come one after the other."""
    (step,) = _steps_of_request(fields)
    asked = [fields.path, fields.data if step.nature is Nature.READ else None]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:32]


def _read(task: str, fields: type[msgspec.Struct], step: Step, subject_of: Callable[[Any], str] | None = None) -> Kind:
    return Kind(task, fields, JobClass.SYNC, _always(step), subject_of=subject_of or (lambda fields: ""))


KINDS: dict[str, Kind] = {
    kind.task: kind
    for kind in (
        Kind("worker68.send_message", SendMessage, JobClass.SEND, _always(_MESSAGE), _in_chat),
        Kind("worker68.send_file", SendFile, JobClass.SEND, _always(_MESSAGE), _in_chat),
        Kind("worker68.set_group_notice", SetGroupNotice, JobClass.MODERATION, _then_announce, _in_group),
        Kind("worker68.mute_group", MuteGroup, JobClass.MODERATION, _then_announce, _in_group),
        Kind("worker68.mute_member", MuteMember, JobClass.MODERATION, _always(_CHANGE), _in_group),
        _read("worker68.sync_profile", NoFields, _READ),
        _read("worker68.sync_contacts", NoFields, _READ),
        _read("worker68.sync_contact", OneUser, _READ, _by_user),
        _read("worker68.sync_friend_requests", NoFields, _READ),
        _read("worker68.sync_groups", NoFields, _ASK_BRIDGE),
        _read("worker68.sync_group", OneGroup, _READ, _by_group),
        _read("worker68.sync_group_members", OneGroup, _READ, _by_group),
        _read("worker68.sync_group_requests", NoFields, _READ),
        _read("worker68.sync_online_status", OnlineStatus, _READ, _by_group),
        _read("worker68.get_api_url", NoFields, _ASK_BRIDGE),
        Kind("worker68.request", RawRequest, JobClass.SYNC, _steps_of_request, subject_of=_subject_of_request),
        Kind("worker68.restart_client", NoFields, JobClass.MODERATION, _always(_RESTART), exclusive=True),
    )
}


def find_nearest_task(name: str) -> str | None:
    """Return the known task whose name is nearest to one that nobody knows; None where none is near."""
    by_own_name = {task.partition(".")[2]: task for task in KINDS}
    near = difflib.get_close_matches(name.lower().removeprefix("worker68."), by_own_name, n=1)
    return by_own_name[near[0]] if near else None
