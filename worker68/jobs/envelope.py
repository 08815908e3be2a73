"""The envelope: an ordinary Celery message (protocol 2, JSON) as a producer's client puts it on Redis.

In: the bytes popped from a list. Out: task name, id, keyword arguments and what the headers say of time and priority; or
``UnreadableMessage`` with the reason, and with the id if that can be read. Never: any judgement of the job's fields.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec
from msgspec import structs

from worker68.errors import FieldError, Sender, UnreadableMessage
from worker68.jobs.validation import EARLIEST, LATEST, clip

#: Celery's ids are UUIDs of 36 characters; other clients make their own. Longer ones would not fit an index.
TASK_ID_LIMIT = 255
TASK_NAME_LIMIT = 200
HIGHEST_PRIORITY, LOWEST_PRIORITY = 0, 9
#: Lists and objects within each other in one field. Python can follow about a thousand, less where the call stack is deep already:
#: what intake could read, a later look at the row might not.
NESTING_LIMIT = 100
#: Bytes of a message: several times the largest job (100 000 ids). JSON may write each byte as six, and PostgreSQL takes 256 MiB in
#: one string of it, so a message can be set aside whatever its bytes are.
MESSAGE_LIMIT = 16 * 1024 * 1024
#: So much is kept of either end of a larger one. Celery writes the body first, and the headers, which say who sent it, behind it.
KEPT_BYTES = 4096
_INSTEAD = "worker68 runs nothing after a job: use reply_to instead, and send the next job when the reply is there"


@dataclass(frozen=True)
class Envelope:
    """What the envelope says. ``problems`` are faults of a readable envelope: the job is invalid, and its producer gets them.

    ``dependents``: the Celery ids of tasks that were to run after this one (chain, chord, callbacks), which then never run.
    """

    task: str
    task_id: str
    kwargs: dict[str, Any]
    priority: int
    not_before: dt.datetime | None
    expires_at: dt.datetime | None
    ignore_result: bool
    problems: tuple[FieldError, ...]
    dependents: tuple[str, ...] = ()


class _Head(msgspec.Struct):
    """Where a message's id may stand."""

    headers: Any = None
    properties: Any = None
    id: Any = None


def read_envelope(raw: bytes) -> Envelope:
    """Return what the message says; raise ``UnreadableMessage`` with a reason when it has no usable envelope or body."""
    if len(raw) > MESSAGE_LIMIT:
        problem = UnreadableMessage(f"the message has {len(raw)} bytes; at most {MESSAGE_LIMIT} are taken")
        problem.sender = read_sender(raw)
        raise problem
    message = _decode(raw, "the message")
    if not isinstance(message, dict):
        raise UnreadableMessage(f"the message is JSON, but {_kind(message)} instead of an object")
    try:
        return _read(message)
    except UnreadableMessage as problem:
        problem.sender = _find_sender(message)
        raise


def read_sender(raw: bytes) -> Sender | None:
    """Return who is to be answered, of a message of which something raised what it should not: little else of it is decoded."""
    try:
        return _find_sender(structs.asdict(msgspec.json.decode(raw, type=_Head)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def pack_message(raw: bytes, *, encode: bool = False) -> dict[str, str]:
    """Return a message as JSON can hold it: text, base64 where it is no UTF-8 or to ``encode``; of one too large both ends."""
    if len(raw) > MESSAGE_LIMIT:
        ends = {"beginning": raw[:KEPT_BYTES], "end": raw[-KEPT_BYTES:]}
        return {name: end.decode("ascii", "backslashreplace") for name, end in ends.items()}
    try:
        if not encode:
            return {"message": raw.decode()}
    except UnicodeDecodeError:
        pass
    return {"message_base64": base64.b64encode(raw).decode()}


def _find_sender(message: Mapping[str, Any]) -> Sender | None:
    """Celery repeats the id as ``correlation_id``: in protocol 1, whose headers are empty, the only one outside of the body."""
    headers, properties = _as_dict(message.get("headers")), _as_dict(message.get("properties"))
    for given in (headers.get("id"), properties.get("correlation_id"), message.get("id")):
        if _is_name(given, TASK_ID_LIMIT):
            task = headers.get("task")
            return Sender(given, task if _is_name(task, TASK_NAME_LIMIT) else "", headers.get("ignore_result") is True)
    return None


def _read(message: dict[str, Any]) -> Envelope:
    headers = message.get("headers")
    if not isinstance(headers, dict):
        raise UnreadableMessage('no "headers" object: worker68 takes Celery messages of protocol 2')
    task = _read_name(headers, "task", TASK_NAME_LIMIT)
    task_id = _read_name(headers, "id", TASK_ID_LIMIT)
    properties = _as_dict(message.get("properties"))
    args, kwargs, embed = _read_body(message, properties)
    problems: list[FieldError] = []
    if args:
        problems.append(FieldError("args", "give every field by name (kwargs), none by position"))
    kwargs = _without_deep(kwargs, problems)
    problems += _find_attached(embed)
    limit = headers.get("timelimit")
    if any(limit) if isinstance(limit, list) else limit:
        problems.append(FieldError("time_limit", "a job has no time limit of Celery's; give expires_at instead"))
    return Envelope(
        task=task,
        task_id=task_id,
        kwargs=kwargs,
        priority=_read_priority(properties),
        not_before=_read_time(headers, "eta", problems),
        expires_at=_read_time(headers, "expires", problems),
        ignore_result=headers.get("ignore_result") is True,
        problems=tuple(problems),
        dependents=tuple(dict.fromkeys(_ids_in(embed))),
    )


def _decode(raw: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UnreadableMessage(f"{what} is not JSON: {error}") from error


def _read_name(headers: dict[str, Any], header: str, limit: int) -> str:
    name = headers.get(header)
    if not _is_name(name, limit):
        raise UnreadableMessage(f'the header "{header}" is not a string of 1 to {limit} printable characters')
    return name


def _is_name(value: Any, limit: int) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= limit and value.isprintable()


def _read_body(message: dict[str, Any], properties: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    headers = message["headers"]
    if headers.get("compression"):
        raise UnreadableMessage(f"the body is compressed ({headers['compression']!s:.40}); send it uncompressed")
    content_type = message.get("content-type")
    if content_type != "application/json":
        raise UnreadableMessage(f"the content type is {content_type!r:.60}; worker68 takes application/json")
    body = message.get("body")
    if not isinstance(body, str):
        raise UnreadableMessage(f"the body is {_kind(body)} instead of a string")
    encoding = properties.get("body_encoding")
    if encoding == "base64":
        try:
            # Some libraries write it in lines.
            data = base64.b64decode(body.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnreadableMessage(f"the body is not base64, although its body_encoding says so: {error}") from error
    elif encoding in (None, "utf-8"):
        data = body.encode("utf-8", "surrogatepass")
    else:
        raise UnreadableMessage(f"the body_encoding is {encoding!r:.60}; known are base64 and utf-8")
    content = _decode(data, "the body")
    if not isinstance(content, list) or len(content) != 3:
        raise UnreadableMessage(f"the body is {_kind(content)} instead of the list [args, kwargs, embed]")
    args, kwargs, embed = content
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise UnreadableMessage("the body's args are no list, or its kwargs no object")
    if embed and not isinstance(embed, dict):
        raise UnreadableMessage(f"the third part of the body is {_kind(embed)} instead of an object")
    return args, kwargs, embed or {}


def _without_deep(kwargs: dict[str, Any], problems: list[FieldError]) -> dict[str, Any]:
    """Return the fields without those that are nested too deep, each of which is a problem."""
    deep = [name for name, value in kwargs.items() if isinstance(value, list | dict) and _is_deep(value)]
    problems += [FieldError(clip(name), f"nested deeper than {NESTING_LIMIT} levels") for name in sorted(deep)]
    return {name: value for name, value in kwargs.items() if name not in deep} if deep else kwargs


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(NESTING_LIMIT):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def _find_attached(embed: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield a problem for each part of what Celery hangs on a message that asks for something."""
    for part, attached in embed.items():
        if attached:
            yield FieldError(clip(part), f"{_ATTACHED.get(part, 'unknown')}; {_INSTEAD}")


#: The parts of a body's third part, and what they ask for.
_ATTACHED = {
    "callbacks": "tasks that are to follow a success (link)",
    "errbacks": "tasks that are to follow a failure (link_error)",
    "chain": "the rest of a chain",
    "chord": "the body of a chord",
}


def _ids_in(embed: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of all tasks that are described in ``embed``, also of those that hang on them in turn."""
    remaining: list[Any] = [embed]
    while remaining:
        part = remaining.pop()
        if isinstance(part, dict):
            task_id = _as_dict(part.get("options")).get("task_id")
            if "task" in part and _is_name(task_id, TASK_ID_LIMIT):
                yield task_id
            remaining += part.values()
        elif isinstance(part, list):
            remaining += part


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_priority(properties: Mapping[str, Any]) -> int:
    """Other clients than Celery write ``"9"`` or ``9.0``, too. What is no number is no priority, as one that is left out."""
    try:
        return max(HIGHEST_PRIORITY, min(LOWEST_PRIORITY, int(properties.get("priority", HIGHEST_PRIORITY))))
    except (TypeError, ValueError, OverflowError):
        return HIGHEST_PRIORITY


def _read_time(headers: dict[str, Any], header: str, problems: list[FieldError]) -> dt.datetime | None:
    """Celery writes ISO 8601; a time without an offset is UTC there (``enable_utc``)."""
    value = headers.get(header)
    if value is None:
        return None
    try:
        when = dt.datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=dt.UTC)
        when = min(when, LATEST)
        if when < EARLIEST:
            raise ValueError("out of range")
        return when.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        problems.append(
            FieldError(
                f"{header} (Celery header)", f"expected an ISO 8601 time since {EARLIEST.year}, as Celery writes it"
            )
        )
        return None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
