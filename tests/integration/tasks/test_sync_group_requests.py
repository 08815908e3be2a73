"""``worker68.sync_group_requests`` at a simulated bridge, and how one entry is read."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest

from tests.integration.tasks.acting import act, frames_of, rows
from tests.parts.frames import SEEN
from worker68.bridge.link import Link
from worker68.jobs.snapshot import GroupRequestRow
from worker68.simulator import Simulator
from worker68.simulator.population import ACCOUNT, FRIEND, OWNED_GROUP, PLAIN_GROUP
from worker68.tasks.sync_group_requests import read_group_request


def read(entry: dict[str, Any]) -> GroupRequestRow | None:
    return read_group_request(msgspec.Raw(json.dumps(entry).encode()))


def test_group_requests(simulated_link: Link, simulated: Simulator) -> None:
    simulated.change(lambda world: world.invite_account(FRIEND, PLAIN_GROUP))
    found = rows(act(simulated_link, "sync_group_requests"))
    assert [(row.request_id, row.user_id, row.group_id) for row in found] == [
        (one.request_id, one.uid, one.group_id) for one in simulated.world.group_requests
    ]
    invited, asks, *_ = found
    assert (invited.kind, invited.user_id, invited.target_id) == ("invite", FRIEND, ACCOUNT)
    assert (asks.kind, asks.status, asks.host_id, asks.target_id) == ("qr_code", "open", ACCOUNT, asks.user_id)
    assert frames_of(simulated, "GroupReqList") == [{"pageNum": 1, "pageSize": 100}]


def test_more_than_a_page(simulated_link: Link, simulated: Simulator) -> None:
    def ask(world: Any) -> None:
        for uid in list(world.people)[:150]:
            world.ask_to_join(uid, OWNED_GROUP)

    simulated.change(ask)
    assert len(rows(act(simulated_link, "sync_group_requests"))) == len(simulated.world.group_requests) > 100
    assert [each["pageNum"] for each in frames_of(simulated, "GroupReqList")] == [1, 2, 1]


def test_the_entries_that_were_seen() -> None:
    asks, invites = (read(entry) for entry in SEEN["group_requests"]["reply"]["data"]["groupReqs"])
    at = dt.datetime(2025, 12, 20, 3, 32, 24, 598000, tzinfo=dt.UTC)
    assert asks == GroupRequestRow(
        *(90017, 389284, 5138518, "eins", 5138518, "eins", "huimei", 7237423),
        *("qr_code", "open", "please let me in", at, at),
    )
    assert invites is not None
    assert (invites.kind, invites.status, invites.user_id, invites.target_id) == ("invite", "agreed", 4017572, 4008697)
    assert invites.requested_at is not None
    assert invites.changed_at is not None
    assert invites.changed_at - invites.requested_at == dt.timedelta(seconds=10_000)


@pytest.mark.parametrize(
    ("written", "kind", "status"),
    [
        ({}, "transfer", "open"),
        ({"groupReqType": 15, "groupReqStatus": 3}, "alias", "expired"),
        ({"groupReqType": "15", "groupReqStatus": "2"}, "alias", "refused"),
        ({"groupReqType": "GROUP_ALIAS", "groupReqStatus": "AGREE"}, "alias", "agreed"),
        ({"groupReqType": "GROUP_CANCLE_ADMIN", "groupReqStatus": "CHECKING"}, "cancel_admin", "open"),
        ({"groupReqType": 77, "groupReqStatus": "LATER"}, "77", "later"),
        ({"groupReqType": [1], "groupReqStatus": None}, None, None),
    ],
)
def test_kind_and_status_as_numbers_and_as_words(written: dict[str, Any], kind: str | None, status: str | None) -> None:
    row = read({"groupReqId": 5, "fromUser": {"uid": 7}} | written)
    assert row is not None
    assert (row.kind, row.status, row.group_id) == (kind, status, 0)


@pytest.mark.parametrize(
    "entry", [{}, {"groupReqId": 5}, {"fromUser": {"uid": 7}}, {"groupReqId": "x", "fromUser": {"uid": 7}}]
)
def test_without_a_number_or_an_applicant_it_cannot_be_read(entry: dict[str, Any]) -> None:
    assert read(entry) is None
