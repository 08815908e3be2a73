"""``send_at`` and ``expires_at``: RFC 3339 with an offset or epoch seconds, within reason, in UTC afterwards."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from tests.parts.jobs import SYNC, order
from worker68.errors import FieldError, InvalidJob
from worker68.jobs.validation import parse_time

NINE_IN_BEIJING = dt.datetime(2026, 3, 1, 1, 0, tzinfo=dt.UTC)


def parse(value: Any) -> dt.datetime | str:
    errors: list[FieldError] = []
    when = parse_time(value, "send_at", errors)
    if when is None:
        (error,) = errors
        assert error.field == "send_at"
        return error.problem
    assert not errors
    return when


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T09:00:00+08:00",
        "2026-03-01T01:00:00Z",
        "2026-03-01t01:00:00z",
        "2026-03-01 01:00:00.000Z",
        NINE_IN_BEIJING.timestamp(),
        int(NINE_IN_BEIJING.timestamp()),
    ],
)
def test_reads_times(value: Any) -> None:
    when = parse(value)
    assert when == NINE_IN_BEIJING
    assert isinstance(when, dt.datetime)
    assert when.tzinfo is dt.UTC


def test_keeps_parts_of_seconds() -> None:
    assert parse(1.25) == dt.datetime(1970, 1, 1, 0, 0, 1, 250_000, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "value",
    [True, False, [], {}, "", "soon", "2026-03-01", "09:00", "2026-02-30T09:00:00Z", "2026-03-01T25:00:00Z", "0"],
)
def test_refuses_what_is_no_time(value: Any) -> None:
    assert str(parse(value)).startswith('expected RFC 3339 with an offset, like "2026-03-01T09:00:00+08:00", or epoch')


def test_a_time_without_an_offset_says_what_is_missing() -> None:
    assert str(parse("2026-03-01T09:00:00")).endswith("the offset is missing")


@pytest.mark.parametrize(
    "value",
    [-1, 1_772_326_800_000, "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"],
)
def test_refuses_what_is_out_of_range(value: Any) -> None:
    assert str(parse(value)).startswith("out of range")
    assert str(parse(value)).endswith("(seconds, not milliseconds)")


@pytest.mark.parametrize("value", ["3000-01-01T00:00:01Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-08:00"])
def test_a_date_that_stands_for_never_is_the_last_that_there_is(value: str) -> None:
    assert parse(value) == dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
    assert order(SYNC, {}, expires=value).expires_at == dt.datetime(3000, 1, 1, tzinfo=dt.UTC)


def test_a_datetime_as_celery_writes_it_is_a_time() -> None:
    when = dt.datetime(2026, 3, 1, 9, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    dumps: Any = kombu_json.dumps
    assert parse(json.loads(dumps({"at": when}))["at"]) == when
    assert str(parse(json.loads(dumps({"at": when.replace(tzinfo=None)}))["at"])).endswith("the offset is missing")
    assert str(parse({"__type__": "uuid", "__value__": {"hex": "0"}})).startswith("expected RFC 3339")


@pytest.mark.parametrize("value", [10**15, -(10**15), 10**400, 1e300, float("inf"), float("nan")])
def test_refuses_numbers_that_no_calendar_has(value: Any) -> None:
    assert str(parse(value)).startswith("out of range")


@given(st.integers() | st.floats() | st.text() | st.datetimes().map(dt.datetime.isoformat) | st.booleans())
def test_anything_is_a_time_in_range_or_one_problem(value: Any) -> None:
    when = parse(value)
    assert isinstance(when, str) or 1970 <= when.year <= 3000


def test_the_later_start_and_the_earlier_end_count() -> None:
    both = order(
        SYNC,
        {"send_at": "2026-03-01T09:00:00Z", "expires_at": "2026-03-03T09:00:00Z"},
        eta="2026-03-02T09:00:00",
        expires="2026-03-02T10:00:00+00:00",
    )
    assert both.not_before == dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
    assert both.expires_at == dt.datetime(2026, 3, 2, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize("value", ["tomorrow", 5, [], "2026-13-01", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("header", ["eta", "expires"])
def test_a_header_that_is_no_usable_time_is_the_producers_fault(header: str, value: Any) -> None:
    with pytest.raises(InvalidJob, match=rf"{header} \(Celery header\): "):
        order(SYNC, {}, **{header: value})
