"""Builders of what a producer sends and what becomes of it: messages, envelopes, orders, jobs, accounts.

In: only what a test is about. Out: the rest filled in so that it is valid. Never: I/O.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final

import msgspec

from worker68.jobs.envelope import Envelope, read_envelope
from worker68.jobs.job import Job, Order, read_order
from worker68.jobs.permission import Permissions
from worker68.jobs.states import State
from worker68.limits.rates import NO_LIMITS
from worker68.limits.slow_downs import DEFAULT_RULES
from worker68.protocol.api import DOCUMENTED
from worker68.settings import AccountSettings
from worker68.tasks import TASKS

SEND: Final = "worker68.send_message"
MUTE: Final = "worker68.mute_member"
SYNC: Final = "worker68.sync_groups"

#: When everything happens in tests that need no clock of their own.
NOW: Final = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
CHAT: Final = {"type": "group", "id": 389284}

_numbers = count(1)


def send_fields(**fields: Any) -> dict[str, Any]:
    """Return the keyword arguments of a valid send, with ``fields`` over them."""
    return {"chat": CHAT, "text": "hello"} | fields


def mute_fields(**fields: Any) -> dict[str, Any]:
    return {"group_id": 389284, "user_id": 7237423, "seconds": 600} | fields


#: Valid fields of each task.
LEAST_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {name: task.example for name, task in TASKS.items()}


def message(
    task: str = SEND,
    kwargs: Mapping[str, Any] | bytes | None = None,
    *,
    task_id: str | None = None,
    args: list[Any] | None = None,
    priority: int = 0,
    **headers: Any,
) -> bytes:
    """Return a Celery message as a producer's client puts it on Redis. ``kwargs`` in bytes are JSON as it is."""
    given = kwargs if isinstance(kwargs, bytes) else msgspec.json.encode(send_fields() if kwargs is None else kwargs)
    body = b"[%s,%s,{}]" % (msgspec.json.encode(args or []), given)
    return msgspec.json.encode(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": task_id or f"task-{next(_numbers)}", **headers},
            "properties": {"body_encoding": "base64", "priority": priority, "delivery_tag": "1"},
        }
    )


def envelope(task: str = SEND, kwargs: Mapping[str, Any] | bytes | None = None, **more: Any) -> Envelope:
    return read_envelope(message(task, kwargs, **more))


def order(
    task: str = SEND, kwargs: Mapping[str, Any] | bytes | None = None, queue_account: str | None = None, **more: Any
) -> Order:
    """Return what a message asks for; raises ``InvalidJob``."""
    return read_order(envelope(task, kwargs, **more), TASKS[task], queue_account)


def job(seq: int, task: str = SEND, kwargs: Mapping[str, Any] | None = None, **columns: Any) -> Job:
    """Return a ready job as SQL would give it."""
    given = LEAST_FIELDS[task] if kwargs is None else kwargs
    wanted = order(task, given)
    made = Job(
        seq=seq,
        job_id=f"job-{seq}",
        task_id=f"task-{seq}",
        account=wanted.account,
        kind=TASKS[task],
        fields=wanted.fields,
        priority=0,
        ordered=wanted.common.ordered,
        state=State.READY,
        attempts=0,
        custom_msg_id=10**10 + seq,
        received_at=NOW,
        due_at=None,
        expires_at=None,
    )
    return replace(made, **columns)


def send(seq: int, chat: int = 1, *, ordered: bool = True, **columns: Any) -> Job:
    """Return a ready send to a group."""
    return job(seq, kwargs=send_fields(chat={"type": "group", "id": chat}, ordered=ordered), **columns)


def mute(seq: int, group: int = 1, **columns: Any) -> Job:
    """Return a ready mute of a member of a group."""
    return job(seq, MUTE, mute_fields(group_id=group), **columns)


def account(name: str = "main", **settings: Any) -> AccountSettings:
    """Return an account's settings as the defaults of the contract have them, but without limits."""
    made = AccountSettings(
        name=name,
        bridge_url="ws://127.0.0.1:5600",
        limits=NO_LIMITS,
        confirm="verdict",
        verdict_timeout=30.0,
        reply_timeout=15.0,
        verdict_match="auto",
        newline="escaped",
        check_texts=True,
        slow_downs=DEFAULT_RULES,
        max_in_flight=8,
        max_waiting=200_000,
        max_age=None,
        permissions=Permissions(paths=frozenset(DOCUMENTED)),
    )
    return replace(made, **settings)
