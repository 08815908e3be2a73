"""The same reply written otherwise: what changes, and that nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.simulator import build_world
from worker68.simulator.endpoints import ENDPOINTS
from worker68.simulator.population import MANAGED_GROUP, OWNED_GROUP
from worker68.simulator.requests import read_request, respond
from worker68.simulator.spelling import Spelling


def written(spelling: Spelling, name: str, **data: Any) -> Any:
    call = {"type": name, "url": "http://h/", "data": data}
    if name in ENDPOINTS:
        call |= {"protoType": "group", "url": f"http://h{ENDPOINTS[name].path}"}
        frame = {"id": "1", "type": "request", "data": call}
    else:
        frame = {"id": "1", "type": name}
    body = respond(build_world(), read_request(frame)).body
    assert body is not None
    return spelling.write(body)["data"]


def test_nothing_changes_by_itself() -> None:
    body = {"data": {"uid": "1", "memberType": "HOST", "online": False}}
    assert Spelling().write(body) is body


def test_ids_times_and_amounts_are_numbers_in_request_replies() -> None:
    swapped = Spelling(swapped_numbers=True)
    first = written(swapped, "GroupMemberList", groupId=MANAGED_GROUP)
    assert (first["count"], first["lastUpdateTime"]) == (4, 1_766_114_002_864)
    host = first["members"][0]
    assert (host["user"]["uid"], host["groupId"], host["score"]) == (7_237_423, MANAGED_GROUP, 807_415_200_000)
    assert host["user"]["nickName"] == "Pwgen"
    detail = written(swapped, "GroupDetail", groupId=MANAGED_GROUP)
    assert (detail["group"]["hostId"], detail["group"]["memberCount"]) == (7_237_423, 4)
    assert detail["groupNotice"]["noticeId"] == 1_043_631
    assert detail["commonResult"] == {"errCode": 200}


def test_they_are_strings_in_get_groups() -> None:
    group = written(Spelling(swapped_numbers=True), "getGroups")[0]
    assert (group["id"], group["hostId"], group["memberCount"]) == (str(MANAGED_GROUP), "7237423", "4")
    assert group["bfShutup"] is False
    assert group["groupNotice"]["editUser"]["user"]["uid"] == 7_237_423


def test_a_name_of_digits_stays_a_name() -> None:
    assert Spelling(swapped_numbers=True).write({"data": {"nickName": "12345", "msg": "67890"}}) == {
        "data": {"nickName": "12345", "msg": "67890"}
    }


@pytest.mark.parametrize(
    ("name", "group_id", "rank"), [("getGroups", 0, ["MANAGE", "HOST", "MEMBER"]), ("GroupDetail", MANAGED_GROUP, 1)]
)
def test_ranks_are_swapped(name: str, group_id: int, rank: object) -> None:
    data = written(Spelling(swapped_ranks=True), name, groupId=group_id)
    seen = [group["memberType"] for group in data] if name == "getGroups" else data["memberType"]
    assert seen == rank


def test_types_that_are_no_ranks_stay() -> None:
    swapped = Spelling(swapped_ranks=True)
    members = written(swapped, "GroupMemberList", groupId=MANAGED_GROUP)["members"]
    assert [one.get("type") for one in members] == [None, 1, 2, 2]
    assert written(swapped, "ContactsApplyList")["recordList"][0]["type"] == "IDENTIFY"
    assert {group["type"] for group in written(swapped, "getGroups")} == {"group"}


def test_defaults_are_left_out() -> None:
    groups = {group["id"]: group for group in written(Spelling(left_out_defaults=True), "getGroups")}
    assert "bfShutup" not in groups[MANAGED_GROUP]
    assert "memberType" not in groups[OWNED_GROUP]
    assert groups[MANAGED_GROUP]["memberType"] == 1
    assert groups[MANAGED_GROUP]["bfJoinCheck"] is True


def test_all_at_once() -> None:
    loose = Spelling(swapped_numbers=True, swapped_ranks=True, left_out_defaults=True)
    groups = {group["id"]: group for group in written(loose, "getGroups")}
    assert groups[str(OWNED_GROUP)]["memberType"] == "HOST"
    assert groups[str(MANAGED_GROUP)]["memberType"] == "MANAGE"
