"""``worker68.request``: a call of the service's HTTP API in the producer's own words.

What a call that is not documented does is not known: it is made once, and a silence leaves it in doubt. Permission: the path must
stand in the account's ALLOWED_PATHS letter by letter.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from worker68.jobs.evidence import judge_request, judge_unknown_call
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.task import JobClass, Nature, Step, Task, change, read
from worker68.protocol import api
from worker68.protocol.values import cut_deep
from worker68.tasks.turn import Turn

Name = Annotated[str, Meta(min_length=1, max_length=100)]


class RawRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether ``path`` may be called is a matter of permission, not of form."""

    type: Name
    path: Annotated[str, Meta(min_length=1, max_length=1000)]
    data: dict[str, Any] | None = None
    proto_type: Name | None = None


async def request(turn: Turn, fields: RawRequest) -> Outcome | TryAgain:
    call = api.ApiCall(fields.type, fields.path, fields.proto_type)
    seen = await turn.ask(call, fields.data, limit=turn.job.now.limit)
    await asyncio.to_thread(cut_deep, seen.data)
    return judge_unknown_call(seen) if turn.job.now.nature is Nature.SEND else judge_request(seen)


def _steps(fields: Any) -> tuple[Step, ...]:
    known = api.DOCUMENTED.get(fields.path)
    if known is None or known.type != fields.type:
        return (Step(request, Nature.SEND, "moderate", through_api=True, call=fields.type),)
    return (change(request, fields.type) if known.changes else read(request, fields.type),)


def _subject_of(fields: Any) -> str:
    """Reads of the same thing, and changes by the same path, come one after the other."""
    (step,) = _steps(fields)
    asked = [fields.path, fields.data if step.nature is Nature.READ else None]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:32]


TASK: Final = Task(
    "worker68.request",
    "Make a call of the service's HTTP API in your own words.",
    RawRequest,
    JobClass.SYNC,
    _steps,
    result="`data` as the bridge gave it",
    example={"type": api.GROUP_DETAIL.type, "path": api.GROUP_DETAIL.path, "data": {"groupId": 389284}},
    subject_of=_subject_of,
    permission=lambda permissions, fields: permissions.why_not_path(fields.path),
)
