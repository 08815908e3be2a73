"""From a producer's keyword arguments to typed fields, naming everything that is wrong, not only the first thing."""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from worker68.errors import FieldError
from worker68.jobs.fields import METADATA_LIMIT_BYTES, Common

S = TypeVar("S", bound=msgspec.Struct)

#: A number outside is a mistake (milliseconds for seconds). The year 9999 would not survive a database's change of time zone.
EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LATEST = dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
_TIME_EXPECTED = 'expected RFC 3339 with an offset, like "2026-03-01T09:00:00+08:00", or epoch seconds'
_OUT_OF_RANGE = f"out of range: {_TIME_EXPECTED} (seconds, not milliseconds)"
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)

#: What the patterns of ``fields`` mean, in words.
_PATTERNS = {
    "account": "a name of 1 to 64 of a-z, 0-9, _ and -",
    "reply_to": 'a name of 1 to 100 of A-Z, a-z, 0-9, ".", _ and -, or the same after "stream:"',
}

#: Unknown fields that are named. A message may have a million, and each name is compared with those that are known.
MOST_UNKNOWN = 100

COMMON_FIELDS = frozenset(field.name for field in msgspec.structs.fields(Common))


def convert_fields(struct: type[S], given: Mapping[str, Any], errors: list[FieldError], prefix: str = "") -> S | None:
    """Return ``given`` as ``struct``; append every problem to ``errors`` and return None if there is one.

    Fields of structs within are checked one by one too. A null stands for a left-out field where the field is optional.
    """
    before = len(errors)
    values: dict[str, Any] = {}
    schema = _schema(struct)
    for name, expected in schema.items():
        if name not in given or (given[name] is None and not expected.required):
            if expected.required:
                errors.append(FieldError(prefix + name, "missing"))
            continue
        values[name] = _convert(expected, given[name], errors, prefix + name)
    _refuse_unknown(given, schema.keys(), errors, prefix, also=() if prefix else COMMON_FIELDS)
    return struct(**values) if len(errors) == before else None


def convert_common(given: Mapping[str, Any], errors: list[FieldError]) -> Common:
    """Return the fields that every job takes; what is wrong is appended to ``errors`` and left at its default.

    The result is usable even where something was wrong: the reply to a wrong job needs what could be read.
    """
    values: dict[str, Any] = {}
    for name, expected in _schema(Common).items():
        value = given.get(name)
        if value is None:
            continue
        before = len(errors)
        if name in ("send_at", "expires_at"):
            converted: Any = parse_time(value, name, errors)
        elif name == "job_id":
            converted = _check_job_id(value, errors)
        elif name == "metadata":
            converted = _check_metadata(value, errors)
        else:
            converted = _convert(expected, value, errors, name)
        if len(errors) == before:
            values[name] = converted
    return Common(**values)


def parse_time(value: Any, name: str, errors: list[FieldError]) -> dt.datetime | None:
    """Return a point in time in UTC from RFC 3339 with an offset or epoch seconds; append what is wrong to ``errors``.

    A ``datetime`` of a producer in Python is such a text, in the form in which Celery's JSON writes it. A date beyond ``LATEST``
    stands for "never".
    """
    if isinstance(value, dict) and value.get("__type__") == "datetime":
        value = value.get("__value__")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(_TIME_EXPECTED)
        if isinstance(value, str):
            when = msgspec.convert(value, dt.datetime)
            if when.tzinfo is None:
                raise ValueError(f"{_TIME_EXPECTED}; the offset is missing")
            when = min(when, LATEST)
        elif EARLIEST.timestamp() <= value <= LATEST.timestamp():
            when = dt.datetime.fromtimestamp(value, dt.UTC)
        else:
            errors.append(FieldError(name, _OUT_OF_RANGE))
            return None
    except (ValueError, OverflowError, msgspec.ValidationError) as error:
        problem = str(error) if str(error).startswith("expected RFC") else _TIME_EXPECTED
        errors.append(FieldError(name, problem))
        return None
    if not EARLIEST <= when <= LATEST:
        errors.append(FieldError(name, _OUT_OF_RANGE))
        return None
    return when.astimezone(dt.UTC)


class _Expected(typing.NamedTuple):
    """What a field must be. ``struct``: what it is or may be, if one."""

    type: Any
    struct: type[msgspec.Struct] | None
    required: bool


@functools.cache
def _schema(struct: type[msgspec.Struct]) -> dict[str, _Expected]:
    """Return what is expected in each field; resolving annotations takes a millisecond."""
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = msgspec.structs.fields(struct)
    return {field.name: _Expected(hints[field.name], _struct_in(hints[field.name]), field.required) for field in fields}


def _convert(expected: _Expected, value: Any, errors: list[FieldError], name: str) -> Any:
    if expected.struct is not None and isinstance(value, dict):
        return convert_fields(expected.struct, value, errors, f"{name}.")
    try:
        return msgspec.convert(value, expected.type, strict=True)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        assert match is not None
        problem = match["what"]
        if typing.get_origin(expected.type) is typing.Literal:
            problem = f"expected {' or '.join(map(repr, typing.get_args(expected.type)))}"
        elif "regex" in problem:
            problem = f"expected {_PATTERNS[name]}"
        errors.append(FieldError(name + (match["path"] or ""), _in_plain_words(problem)))
        return None


def _struct_in(expected: Any) -> type[msgspec.Struct] | None:
    """Return the struct that ``expected`` is or may be (``Chat``, ``Quote | None``), else None."""
    choices: Iterable[Any] = (expected,)
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        choices = typing.get_args(expected)
    for choice in choices:
        if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            return choice
    return None


def _refuse_unknown(
    given: Mapping[str, Any], known: Collection[str], errors: list[FieldError], prefix: str, also: Collection[str]
) -> None:
    unknown = sorted(map(str, given.keys() - set(known)))
    for name in unknown[:MOST_UNKNOWN]:
        near = difflib.get_close_matches(name, [*known, *also], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join([*sorted(known), *sorted(also)])}"
        errors.append(FieldError(prefix + clip(name), f"unknown field{hint}"))
    if len(unknown) > MOST_UNKNOWN:
        errors.append(FieldError(f"{prefix}…", f"{len(unknown) - MOST_UNKNOWN} more unknown fields"))


def _check_job_id(value: Any, errors: list[FieldError]) -> str | None:
    if isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable():
        return value
    errors.append(FieldError("job_id", "expected a string of 1 to 128 printable characters"))
    return None


def _check_metadata(value: Any, errors: list[FieldError]) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        errors.append(FieldError("metadata", "expected an object"))
        return None
    size = len(msgspec.json.encode(value))
    if size > METADATA_LIMIT_BYTES:
        errors.append(
            FieldError("metadata", f"{size} bytes as JSON; at most {METADATA_LIMIT_BYTES} are kept and given back")
        )
        return None
    return value


def _in_plain_words(problem: str) -> str:
    return problem[:1].lower() + problem[1:].replace("`", "")


def clip(name: str, limit: int = 80) -> str:
    """Return a producer's own word, printable and short enough to stand in an error message."""
    shown = "".join(char if char.isprintable() else "�" for char in name)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
