"""The envelope: an ordinary Celery message (protocol 2, JSON) as a producer's client puts it on Redis.

In: the bytes popped from a list. Out: task name, id, keyword arguments and what the headers say of time and priority; or
``UnreadableMessage`` with the reason, when nobody can be answered. Never: any judgement of the job's fields.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from dataclasses import dataclass
from typing import Any

import msgspec

from worker68.errors import FieldError, UnreadableMessage
from worker68.jobs.validation import EARLIEST, LATEST

#: Celery's ids are UUIDs of 36 characters; other clients make their own. Longer ones would not fit an index.
TASK_ID_LIMIT = 255
TASK_NAME_LIMIT = 200
HIGHEST_PRIORITY, LOWEST_PRIORITY = 0, 9


@dataclass(frozen=True)
class Envelope:
    """What the envelope says. ``problems`` are faults of a readable envelope: the job is invalid, and its producer is told."""

    task: str
    task_id: str
    kwargs: dict[str, Any]
    priority: int
    not_before: dt.datetime | None
    expires_at: dt.datetime | None
    ignore_result: bool
    problems: tuple[FieldError, ...]


def read_envelope(raw: bytes) -> Envelope:
    """Return what the message says; raise ``UnreadableMessage`` with a reason when it has no usable envelope or body."""
    message = _decode(raw, "the message")
    if not isinstance(message, dict):
        raise UnreadableMessage(f"the message is JSON, but {_kind(message)} instead of an object")
    headers = message.get("headers")
    if not isinstance(headers, dict):
        raise UnreadableMessage('no "headers" object: worker68 takes Celery messages of protocol 2')
    task = _read_name(headers, "task", TASK_NAME_LIMIT)
    task_id = _read_name(headers, "id", TASK_ID_LIMIT)
    properties = message.get("properties")
    args, kwargs = _read_body(message, properties if isinstance(properties, dict) else {})
    problems: list[FieldError] = []
    if args:
        problems.append(FieldError("args", "give every field by name (kwargs), none by position"))
    return Envelope(
        task=task,
        task_id=task_id,
        kwargs=kwargs,
        priority=_read_priority(properties),
        not_before=_read_time(headers, "eta", problems),
        expires_at=_read_time(headers, "expires", problems),
        ignore_result=headers.get("ignore_result") is True,
        problems=tuple(problems),
    )


def _decode(raw: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UnreadableMessage(f"{what} is not JSON: {error}") from error


def _read_name(headers: dict[str, Any], header: str, limit: int) -> str:
    name = headers.get(header)
    if not isinstance(name, str) or not 1 <= len(name) <= limit or not name.isprintable():
        raise UnreadableMessage(f'the header "{header}" is not a string of 1 to {limit} printable characters')
    return name


def _read_body(message: dict[str, Any], properties: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
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
            data = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnreadableMessage(f"the body is not base64, although its body_encoding says so: {error}") from error
    elif encoding in (None, "utf-8"):
        data = body.encode("utf-8", "surrogatepass")
    else:
        raise UnreadableMessage(f"the body_encoding is {encoding!r:.60}; known are base64 and utf-8")
    content = _decode(data, "the body")
    if not isinstance(content, list) or len(content) != 3:
        raise UnreadableMessage(f"the body is {_kind(content)} instead of the list [args, kwargs, embed]")
    args, kwargs, _ = content
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise UnreadableMessage("the body's args are no list, or its kwargs no object")
    return args, kwargs


def _read_priority(properties: Any) -> int:
    priority = properties.get("priority") if isinstance(properties, dict) else None
    if isinstance(priority, bool) or not isinstance(priority, int):
        return HIGHEST_PRIORITY
    return max(HIGHEST_PRIORITY, min(LOWEST_PRIORITY, priority))


def _read_time(headers: dict[str, Any], header: str, problems: list[FieldError]) -> dt.datetime | None:
    """Celery writes ISO 8601; a time without an offset is UTC there (``enable_utc``)."""
    value = headers.get(header)
    if value is None:
        return None
    try:
        when = dt.datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=dt.UTC)
        if not EARLIEST <= when <= LATEST:
            raise ValueError("out of range")
        return when.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        problems.append(
            FieldError(
                f"{header} (Celery header)", f"expected an ISO 8601 time before {LATEST.year}, as Celery writes it"
            )
        )
        return None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
