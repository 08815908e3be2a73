"""What a task is: what it takes, the steps it makes at the bridge, and how each step may be treated.

In: nothing; these are the words in which each file of ``worker68/tasks/`` describes its task. Out: ``Task`` and ``Step``, which
intake, dispatch, execution, the command line and the docs read. Never: I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Literal

import msgspec

from worker68.jobs.fields import Chat

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


#: What a step does at the bridge: a ``Turn`` and the job's fields in, an outcome, another try or a list out.
Act = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Step:
    """One thing that a job does at the bridge, with attempts of its own.

    ``act``: the coroutine that does it. ``read_back``: looks whether a change was made although it seems to have failed, and
    returns its outcome, or None where nothing shows it. ``message``: it sends a message to the job's chat. ``through_api``: it
    calls the service's HTTP API, whose address the bridge must have given before. ``needs_login``: it goes on from the client to
    the service. ``call``: the kind of its first call, empty for a message: where the service answers one kind with busy, that kind
    slows down.
    """

    act: Act
    nature: Nature
    limit: LimitClass
    read_back: Act | None = None
    message: bool = False
    through_api: bool = False
    needs_login: bool = True
    call: str = ""


def message(act: Act) -> Step:
    """A message to the job's chat."""
    return Step(act, Nature.SEND, "send", message=True)


def change(act: Act, call: str, read_back: Act | None = None) -> Step:
    """An idempotent change through the service's API, whose first call is of this kind."""
    return Step(act, Nature.CHANGE, "moderate", read_back, through_api=True, call=call)


def read(act: Act, call: str, *, through_api: bool = True) -> Step:
    """A read, whose first call is of this kind: of the service, or with ``through_api=False`` of the client alone."""
    return Step(act, Nature.READ, "read", through_api=through_api, call=call)


def _no_chat(_: Any) -> Chat | None:
    return None


def _no_subject(_: Any) -> str:
    return ""


def _no_texts(_: Any) -> Mapping[str, str]:
    return {}


def _permit(_permissions: Any, _fields: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Task:
    """One task of the contract, section 1. Its file in ``worker68/tasks/`` holds all that is particular to it."""

    #: Its full name, such as ``worker68.send_message``.
    name: str
    #: One sentence: what it does.
    summary: str
    #: The fields of its own, with their bounds.
    fields: type[msgspec.Struct]
    job_class: JobClass
    #: What it does, in order; a function where that depends on the fields.
    steps: tuple[Step, ...] | Callable[[Any], tuple[Step, ...]]
    #: What ``result`` of the reply holds, for the docs.
    result: str
    #: Valid fields, for the docs and the demo; they name people and groups of the simulator.
    example: Mapping[str, Any] = field(default_factory=dict)
    #: The chat that it acts in, by its fields: the jobs of one class in one chat run one after the other.
    chat_of: Callable[[Any], Chat | None] = _no_chat
    #: The texts that it sends as messages, by the names of their fields.
    texts_of: Callable[[Any], Mapping[str, str]] = _no_texts
    #: Where it acts in no chat: what it must not run beside itself for.
    subject_of: Callable[[Any], str] = _no_subject
    #: While it runs nothing else of its account is begun, and it waits until no send or change of the account is under way.
    exclusive: bool = False
    #: It rests on [seen] statements alone: an account takes it only where EXPERIMENTAL_TASKS names it.
    experimental: bool = False
    #: Says, by ``Permissions`` and the fields, why an account may not run it; None where it may.
    permission: Callable[[Any, Any], str | None] = _permit
    #: What ``worker68 sync`` calls it.
    sync_name: str | None = None
    #: How long ``--wait`` of the command line waits for its end by default. One call: four tries, 15 s each, with back-off between.
    wait_seconds: float = 120.0

    def steps_of(self, fields: Any) -> tuple[Step, ...]:
        """Return what a job with these fields does, in order."""
        return self.steps(fields) if callable(self.steps) else self.steps

    def sends(self, fields: Any) -> bool:
        """Whether it sends a message, so that it needs a ``custom_msg_id`` and obeys the do-not-contact list."""
        return any(step.message for step in self.steps_of(fields))
