"""A job: what a valid message asks for, and what its row in SQL holds of it."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec

from worker68.errors import FieldError, InvalidJob
from worker68.jobs.envelope import Envelope
from worker68.jobs.fields import Chat, Common
from worker68.jobs.retry import DEATHS_ALLOWED
from worker68.jobs.states import State
from worker68.jobs.task import Step, Task
from worker68.jobs.validation import COMMON_FIELDS, convert_common, convert_fields

DEFAULT_ACCOUNT = "main"

#: How the names of lanes end in which all may run at once.
SHARED_LANE = ":unordered"


@dataclass(frozen=True)
class Order:
    """What one valid message asks for. ``content`` identifies what is to be done, for idempotency (contract, section 2)."""

    job_id: str
    account: str
    kind: Task
    fields: msgspec.Struct
    common: Common
    not_before: dt.datetime | None
    expires_at: dt.datetime | None

    @property
    def content(self) -> str:
        return content_hash(self.account, self.kind.name, self.fields)


@dataclass(frozen=True)
class Job:
    """A row of ``jobs``, as far as the way to the bridge needs it.

    ``step``: how many of its steps are done; ``done``: their result, None before the first; ``attempts_before``: their attempts.
    """

    seq: int
    job_id: str
    task_id: str
    account: str
    kind: Task
    fields: msgspec.Struct
    priority: int
    ordered: bool
    state: State
    attempts: int
    custom_msg_id: int | None
    received_at: dt.datetime
    due_at: dt.datetime | None
    expires_at: dt.datetime | None
    step: int = 0
    attempts_before: int = 0
    done: dict[str, Any] | None = None
    #: How many workers were lost while they tried its present step.
    deaths: int = 0
    #: Whether the producer looks at Celery's own result; known only of a job just taken in.
    wants_result: bool = True

    @property
    def task(self) -> str:
        """The full name of its task."""
        return self.kind.name

    @property
    def exclusive(self) -> bool:
        """Whether it runs alone in its account; on its last chance every job does (``DEATHS_ALLOWED``)."""
        return self.kind.exclusive or self.deaths >= DEATHS_ALLOWED - 1

    @cached_property
    def now(self) -> Step:
        """The step that is to be done next."""
        return self.kind.steps_of(self.fields)[self.step]

    @property
    def sends(self) -> bool:
        """Whether one of its steps sends a message."""
        return self.kind.sends(self.fields)

    @property
    def is_last_step(self) -> bool:
        return self.step == len(self.kind.steps_of(self.fields)) - 1

    @cached_property
    def chat(self) -> Chat | None:
        return self.kind.chat_of(self.fields)

    @cached_property
    def lane(self) -> str:
        return lane_of(self.kind, self.fields, self.ordered)


def lane_of(task: Task, fields: Any, ordered: bool) -> str:
    """Name the row of jobs in which only the first may run: a chat's jobs of one class, or reads of the same subject.

    Jobs that opted out of order share a lane of their own, in which all may run at once.
    """
    chat = task.chat_of(fields)
    if chat is None:
        return f"{task.name}:{task.subject_of(fields)}"
    lane = f"{task.job_class.name.lower()}:{chat.type}:{chat.id}"
    return lane if ordered else f"{lane}{SHARED_LANE}"


def is_shared_lane(lane: str) -> bool:
    """Whether this is the lane of jobs that opted out of order."""
    return lane.endswith(SHARED_LANE)


def read_common(envelope: Envelope) -> tuple[Common, list[FieldError]]:
    """Return the fields that every job takes, and what is wrong with them and with the envelope."""
    errors = list(envelope.problems)
    return convert_common(envelope.kwargs, errors), errors


def read_order(envelope: Envelope, task: Task, queue_account: str | None) -> Order:
    """Return what the message asks for; raise ``InvalidJob`` naming every wrong field.

    ``queue_account``: whose queue the message lay on; None for the front door.
    """
    common, errors = read_common(envelope)
    own = {name: value for name, value in envelope.kwargs.items() if name not in COMMON_FIELDS}
    fields = convert_fields(task.fields, own, errors)
    if queue_account is not None and common.account not in (None, queue_account):
        errors.append(
            FieldError("account", f'is "{common.account}", but the message lay on the queue of "{queue_account}"')
        )
    if errors or fields is None:
        raise InvalidJob(errors)
    return Order(
        job_id=common.job_id or envelope.task_id,
        account=queue_account or common.account or DEFAULT_ACCOUNT,
        kind=task,
        fields=fields,
        common=common,
        not_before=_latest(common.send_at, envelope.not_before),
        expires_at=earliest_expiry(common, envelope),
    )


def content_hash(account: str, task: str, fields: Any) -> str:
    """Return the hash of what is to be done: account, task and own fields with their defaults, as canonical JSON."""
    canonical = msgspec.json.encode([account, task, msgspec.to_builtins(fields)], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()


def encode_fields(fields: msgspec.Struct) -> str:
    """Return a task's own fields as its row holds them, without those that have their defaults.

    So a field that a newer version has added stands only in the rows that use it, and an older worker can run the others.
    """
    given = {name: value for name, default in _defaults(type(fields)) if (value := getattr(fields, name)) != default}
    return msgspec.json.encode(given).decode()


@cache
def _defaults(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    """Return the names of the fields, each with its default, or with an object that equals no value."""
    return [
        (field.name, field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default)
        for field in msgspec.structs.fields(struct)
    ]


def _latest(*times: dt.datetime | None) -> dt.datetime | None:
    return max((time for time in times if time is not None), default=None)


def earliest_expiry(common: Common, envelope: Envelope) -> dt.datetime | None:
    """Return when a job's time is over: as its fields and Celery's header say, whichever is first."""
    return min((time for time in (common.expires_at, envelope.expires_at) if time is not None), default=None)
