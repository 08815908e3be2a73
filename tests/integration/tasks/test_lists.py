"""Lists of the service: how a page is asked for, and how a reply without a list is told from an empty one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.integration.bridge.servers import WellBehavedBridge
from tests.integration.tasks.acting import act, answer, rows
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.snapshot import FRIEND_REQUESTS, GROUP_MEMBERS, MemberRow
from worker68.jobs.task import Nature
from worker68.protocol import api
from worker68.tasks.lists import list_of_service, list_task
from worker68.tasks.turn import Turn

SUCCESS = {"errCode": 200}


def read_entry(raw: msgspec.Raw) -> MemberRow:
    return MemberRow(int(bytes(raw)), "", None, "member", False)


IN_PAGES = list_of_service(GROUP_MEMBERS, api.GROUP_MEMBER_LIST, "entries", read_entry, page_size=2)
IN_ONE_REPLY = list_of_service(FRIEND_REQUESTS, api.CONTACTS_APPLY_LIST, "entries", read_entry)


def of_group(link: Link) -> Turn:
    return turn(link, "worker68.sync_group_members", group_id=7)


def test_a_page_is_asked_for_by_its_group_number_and_size(link: Link, bridge: WellBehavedBridge) -> None:
    answer(bridge, {})
    run(IN_PAGES.ask(of_group(link), 3))
    (frame,) = bridge.told("request")
    assert frame["data"]["type"] == "GroupMemberList"
    assert frame["data"]["data"] == {"groupId": 7, "pageNum": 3, "pageSize": 2}


def test_a_list_in_one_reply_is_asked_for_without_a_page(link: Link, bridge: WellBehavedBridge) -> None:
    answer(bridge, {})
    run(IN_ONE_REPLY.ask(turn(link, "worker68.sync_friend_requests"), 1))
    (frame,) = bridge.told("request")
    assert frame["data"]["type"] == "ContactsApplyList"
    assert "data" not in frame["data"]


@pytest.mark.parametrize(
    ("data", "entries"),
    [
        ({"commonResult": SUCCESS, "entries": [1, 2], "count": "9"}, [b"1", b"2"]),
        ({"entries": [1, 2]}, [b"1", b"2"]),
        ({"commonResult": SUCCESS, "entries": []}, []),
        ({"commonResult": SUCCESS, "entries": None}, []),
        ({"commonResult": SUCCESS}, []),
        ({"commonResult": SUCCESS, "entries": 7}, None),
        ({"count": 0}, None),
        ({}, None),
        ([], None),
        ("success", None),
    ],
)
def test_only_a_list_or_the_services_success_is_a_page(
    link: Link, bridge: WellBehavedBridge, data: Any, entries: list[bytes] | None
) -> None:
    answer(bridge, data)
    found = IN_PAGES.entries(run(IN_PAGES.ask(of_group(link), 1)).data)
    assert (None if found is None else [bytes(each) for each in found]) == entries


def test_the_task_of_a_list_reads_it_to_its_end(link: Link, bridge: WellBehavedBridge) -> None:
    task = list_task("worker68.sync_things", "Bring things.", IN_PAGES, "Things", sync_name="things")
    taken = of_group(link)
    (step,) = task.steps_of(taken.job.fields)
    answer(bridge, {"commonResult": SUCCESS, "entries": [1, 2], "count": "2"})
    seen = run(step.act(taken, taken.job.fields))
    assert [row.user_id for row in rows(seen)] == [1, 2]
    assert (seen.kind, seen.subject_id, seen.announced) == (GROUP_MEMBERS, 7, 2)
    assert (step.nature, step.limit, step.call, step.through_api) == (Nature.READ, "read", "Things", True)


def test_a_list_of_the_client_itself_needs_no_address_of_the_api() -> None:
    task = list_task("worker68.sync_things", "Bring.", IN_ONE_REPLY, "Things", sync_name="things", through_api=False)
    (step,) = task.steps_of(None)
    assert not step.through_api


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("sync_contacts", {}),
        ("sync_friend_requests", {}),
        ("sync_group_members", {"group_id": 7}),
        ("sync_group_requests", {}),
    ],
)
def test_a_success_of_the_service_without_a_list_is_an_empty_one(
    link: Link, bridge: WellBehavedBridge, task: str, fields: dict[str, Any]
) -> None:
    answer(bridge, {"commonResult": SUCCESS})
    assert rows(act(link, task, **fields)) == []
