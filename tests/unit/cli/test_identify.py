"""Short ids are as short as they can be told apart, and can be typed as they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.cli.identify import is_number, shorten_id, shorten_ids
from worker68.store.reports import JobLine

UUIDS = (
    "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57",
    "7b1f0c9e-4a53-4a53-9d0f-6f3f6a2e1f57",
    "7b1f0c9f-4a53-4a53-9d0f-6f3f6a2e1f57",
)


def line(seq: int, job_id: str, account: str = "main") -> JobLine:
    fields: dict[str, Any] = dict.fromkeys(JobLine.__struct_fields__)
    return JobLine(**fields | {"seq": seq, "job_id": job_id, "account": account})


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [
        (UUIDS[0], "7b1f0c9e"),
        (UUIDS[0].upper(), "@7"),
        ("order-4711", "order-4711"),
        ("invoice-00000047", "invoice-00000047"),
        ("invoice-000000471", "@7"),
        ("order 4711", "@7"),
        ("order\x1b4711", "@7"),
        ("--json", "@7"),
        ("@4711", "@7"),
    ],
)
def test_an_id_is_cut_only_where_it_is_a_uuid(job_id: str, shown: str) -> None:
    assert shorten_id(job_id, 7) == shown


def test_uuids_are_cut_where_they_differ() -> None:
    assert list(shorten_ids([line(1, UUIDS[0]), line(2, UUIDS[2]), line(3, "order-1")]).values()) == [
        "7b1f0c9e",
        "7b1f0c9f",
        "order-1",
    ]
    shown = shorten_ids([line(number, job_id) for number, job_id in enumerate(UUIDS)])
    assert shown == {0: "7b1f0c9e-3", 1: "7b1f0c9e-4", 2: "7b1f0c9f-4"}


def test_the_same_uuid_of_two_accounts_is_as_short() -> None:
    assert shorten_ids([line(1, UUIDS[0]), line(2, UUIDS[0], "other")]) == {1: "7b1f0c9e", 2: "7b1f0c9e"}


@pytest.mark.parametrize(
    ("given", "number"),
    [("@4711", True), (f"@{'9' * 18}", True), (f"@{'9' * 19}", False), ("@", False), ("4711", False)],
)
def test_a_number_is_marked(given: str, number: bool) -> None:
    assert is_number(given) is number
