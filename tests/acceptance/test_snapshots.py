"""Snapshots through a worker: pages as bad as they can be, and what the tables and the replies say of it.

The group has 36 members and the account 36 friends, in pages of 7: six pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, Stage
from worker68.simulator import ALWAYS, Simulator, build_world
from worker68.simulator.population import FRIEND, OWNED_GROUP, PLAIN_GROUP
from worker68.simulator.world import JoinRequest, Role, World

pytestmark = pytest.mark.parametrize("shared_stage", ["sqlite", "postgresql"], indirect=True, scope="module")

#: What a name or a text of the service may hold, and how it stands in the tables: half an emoji and a NUL are no text.
ODD_NAMES = {"李🐟\n'\"\\": "李🐟\n'\"\\", "a\x00b": "a\N{REPLACEMENT CHARACTER}b", "": "", "名" * 5000: "名" * 5000}


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """The world as it was, and known to the tables."""
    stage.bridge.change(begin_anew)
    stage.bridge.faults.clear()
    with stage.database.begin() as connection:
        for table in ("contacts", "groups", "group_members", "friend_requests", "group_requests"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return stage


def begin_anew(world: World) -> None:
    fresh = build_world(members=36, page_size=7)
    for field in ("people", "contacts", "groups", "friend_requests", "group_requests", "page_size"):
        setattr(world, field, getattr(fresh, field))


def members(stage: Stage, group_id: int = PLAIN_GROUP) -> dict[str, Any]:
    """Sync a group's members; return what the reply says."""
    return synced(stage.run("sync_group_members", group_id=group_id))


def synced(reply: dict[str, Any]) -> dict[str, Any]:
    assert (reply["status"], reply["error"]) == ("succeeded", None), reply
    result: dict[str, Any] = reply["result"]
    return result


def counts(told: dict[str, Any]) -> tuple[int, int, int, int]:
    return told["count"], told["added"], told["removed"], told["changed"]


def there(stage: Stage, table: str, key: str = "user_id", where: str = "") -> dict[int, dict[str, Any]]:
    """Return the rows that are there now, by their key."""
    rows = stage.rows(f"SELECT * FROM {table} WHERE removed_at IS NULL {where}")
    return {row[key]: row for row in rows}


def there_members(stage: Stage, group_id: int = PLAIN_GROUP) -> dict[int, dict[str, Any]]:
    return there(stage, "group_members", where=f"AND group_id = {group_id}")


def changes(stage: Stage, told: dict[str, Any]) -> list[tuple[int, str, Any, Any]]:
    """Return the changes of a snapshot: subject, change, old, new."""
    rows = stage.rows(f"SELECT * FROM snapshot_changes WHERE snapshot_id = {told['snapshot_id']} ORDER BY subject")
    return [(row["subject"], row["change"], *(row[k] and json.loads(row[k]) for k in ("old", "new"))) for row in rows]


def snapshot(stage: Stage, told: dict[str, Any]) -> dict[str, Any]:
    (row,) = stage.rows(f"SELECT * FROM snapshots WHERE id = {told['snapshot_id']}")
    assert all(row[name] == told[name] for name in ("count", "added", "removed", "changed"))
    return row


def test_a_list_of_many_pages_reaches_the_tables(stage: Stage) -> None:
    group = stage.bridge.world.groups[PLAIN_GROUP]

    told = members(stage)

    assert counts(told) == (36, 36, 0, 0)
    rows = there_members(stage)
    assert {id_: row["role"] for id_, row in rows.items()} == {
        id_: {Role.HOST: "host", Role.MANAGE: "admin", Role.MEMBER: "member"}[member.role]
        for id_, member in group.members.items()
    }
    assert {id_: row["name"] for id_, row in rows.items()} == {
        id_: stage.bridge.world.people[id_].name for id_ in group.members
    }
    row = snapshot(stage, told)
    assert (row["kind"], row["subject_id"], bool(row["complete"])) == ("group_members", PLAIN_GROUP, True)
    assert [change for _, change, _, _ in changes(stage, told)] == ["added"] * 36

    assert counts(members(stage)) == (36, 0, 0, 0)


def test_what_came_went_and_changed_is_recorded_with_old_and_new(stage: Stage) -> None:
    members(stage)
    world = stage.bridge.world
    *_, renamed, gone = world.groups[PLAIN_GROUP].members
    old_name, came = world.people[renamed].name, 4017572

    def change(world: World) -> None:
        world.people[renamed].name = "新名字🐟"
        world.groups[PLAIN_GROUP].drop_member(gone)
        world.groups[PLAIN_GROUP].add_member(came)

    stage.bridge.change(change)
    told = members(stage)

    assert counts(told) == (36, 1, 1, 1)
    by_subject = {subject: rest for subject, *rest in changes(stage, told)}
    assert by_subject.keys() == {renamed, gone, came}
    assert by_subject[renamed] == ["changed", {"name": old_name}, {"name": "新名字🐟"}]
    assert by_subject[gone][0] == "removed"
    assert by_subject[gone][1]["role"] == "member"
    assert by_subject[gone][2] is None
    assert (by_subject[came][0], by_subject[came][1]) == ("added", None)
    assert gone not in there_members(stage)
    (row,) = stage.rows(f"SELECT removed_at FROM group_members WHERE user_id = {gone} AND group_id = {PLAIN_GROUP}")
    assert row["removed_at"] is not None

    stage.bridge.change(lambda world: world.groups[PLAIN_GROUP].add_member(gone))
    assert counts(members(stage)) == (37, 1, 0, 0)
    assert gone in there_members(stage)


def test_the_members_of_two_groups_are_two_lists(stage: Stage) -> None:
    members(stage)
    assert counts(members(stage, OWNED_GROUP)) == (3, 3, 0, 0)
    stage.bridge.change(lambda world: world.groups[OWNED_GROUP].drop_member(7128348))

    assert counts(members(stage, OWNED_GROUP)) == (2, 0, 1, 0)

    assert len(there_members(stage)) == 36
    assert len(there_members(stage, OWNED_GROUP)) == 2


def test_contacts(stage: Stage) -> None:
    told = synced(stage.run("sync_contacts"))
    assert counts(told) == (36, 36, 0, 0)
    assert there(stage, "contacts")[FRIEND]["name"] == "Pwgen"

    stage.bridge.change(lambda world: world.drop_contact(FRIEND))
    assert counts(synced(stage.run("sync_contacts"))) == (35, 0, 1, 0)
    assert FRIEND not in there(stage, "contacts")


def test_groups(stage: Stage) -> None:
    synced(stage.run("sync_groups"))
    stage.bridge.change(lambda world: setattr(world.groups[GROUP], "muted", True))

    told = synced(stage.run("sync_groups"))

    assert changes(stage, told) == [(GROUP, "changed", {"muted": False}, {"muted": True})]
    row = there(stage, "groups", "group_id")[GROUP]
    assert (row["name"], row["member_count"], row["role"]) == ("huimei", 4, "admin")


def test_requests_come_and_all_go(stage: Stage) -> None:
    """They are meant to vanish: no shrink of them is suspicious."""
    applicants = list(stage.bridge.world.people)[:10]

    def ask(world: World) -> None:
        world.friend_requests = [JoinRequest(uid, f"我是{uid}", 1_759_928_661_000) for uid in applicants]
        world.group_requests = []
        for uid in applicants:
            world.ask_to_join(uid, OWNED_GROUP)
            world.ask_to_join(uid, PLAIN_GROUP)

    def answer(world: World) -> None:
        world.friend_requests = []
        world.group_requests = []

    stage.bridge.change(ask)
    assert counts(synced(stage.run("sync_friend_requests"))) == (10, 10, 0, 0)
    assert counts(synced(stage.run("sync_group_requests"))) == (20, 20, 0, 0)
    assert {row["message"] for row in there(stage, "friend_requests").values()} == {f"我是{id_}" for id_ in applicants}
    asked = {(row["user_id"], row["group_id"]) for row in stage.rows("SELECT user_id, group_id FROM group_requests")}
    assert asked == {(uid, group_id) for uid in applicants for group_id in (OWNED_GROUP, PLAIN_GROUP)}

    stage.bridge.change(answer)
    assert counts(synced(stage.run("sync_friend_requests"))) == (0, 0, 10, 0)
    assert counts(synced(stage.run("sync_group_requests"))) == (0, 0, 20, 0)
    assert there(stage, "friend_requests") == there(stage, "group_requests") == {}


def set_paging(name: str, value: Any) -> Callable[[Simulator], None]:
    def turn(bridge: Simulator) -> None:
        knob = getattr(bridge.faults.paging, name)
        knob.set(value) if hasattr(knob, "set") else setattr(bridge.faults.paging, name, value)

    return turn


@pytest.mark.parametrize(
    "fault",
    [
        set_paging("short_by", 3),
        set_paging("overlap", 4),
        set_paging("empty_page", 3),
        set_paging("repeats", 1),
        set_paging("count_missing", True),
        set_paging("count_on_every_page", True),
        set_paging("count_type", "number"),
        set_paging("moving_update_time", True),
        set_paging("clock_as_update_time", True),
    ],
    ids=[
        "short",
        "overlapping",
        "empty",
        "repeated once",
        "no count",
        "count everywhere",
        "count is a number",
        "time on every page",
        "clock",
    ],
)
def test_pages_that_lose_nothing_make_a_whole_list(stage: Stage, fault: Callable[[Simulator], None]) -> None:
    members(stage)
    fault(stage.bridge)
    *_, gone = stage.bridge.world.groups[PLAIN_GROUP].members
    stage.bridge.change(lambda world: world.groups[PLAIN_GROUP].drop_member(gone))

    told = members(stage)

    assert counts(told) == (35, 0, 1, 0)
    assert "complete" not in told
    assert set(there_members(stage)) == set(stage.bridge.world.groups[PLAIN_GROUP].members)


@pytest.mark.parametrize(
    "fault",
    [
        set_paging("only_first", True),
        set_paging("repeats", ALWAYS),
        set_paging("leaves", 1),
        set_paging("joins", 1),
        set_paging("count_off_by", 2),
        set_paging("count_off_by", -2),
        set_paging("unreadable", "null_uid"),
        set_paging("unreadable", "null_entry"),
    ],
    ids=["one page for ever", "repeated", "one left", "one came", "too many", "too few", "no uid", "no entry"],
)
def test_a_list_that_was_not_seen_whole_removes_nobody_and_says_so(
    stage: Stage, fault: Callable[[Simulator], None]
) -> None:
    members(stage)
    before = set(there_members(stage))
    first, *_, gone = stage.bridge.world.groups[PLAIN_GROUP].members
    fault(stage.bridge)

    def change(world: World) -> None:
        world.groups[PLAIN_GROUP].drop_member(gone)
        world.people[first].name = "seen anew"

    stage.bridge.change(change)
    told = members(stage)

    assert told["complete"] is False
    assert told["note"].startswith("incomplete: ")
    assert told["removed"] == 0
    row = snapshot(stage, told)
    assert (bool(row["complete"]), row["note"]) == (False, told["note"])
    assert before <= set(there_members(stage))
    assert there_members(stage)[first]["name"] == "seen anew", "what was seen is taken over"


def test_a_list_that_lost_more_than_half_is_kept_and_not_applied(stage: Stage) -> None:
    members(stage)
    before = there_members(stage)

    def empty(world: World) -> None:
        group = world.groups[PLAIN_GROUP]
        for uid in list(group.members)[17:]:
            group.drop_member(uid)

    stage.bridge.change(empty)
    told = members(stage)

    assert told["applied"] is False
    assert "19 of 36" in told["note"]
    assert counts(told) == (17, 0, 19, 0)
    assert not snapshot(stage, told)["applied"]
    assert there_members(stage) == before


def test_an_empty_reply_does_not_empty_a_list(stage: Stage) -> None:
    members(stage)
    synced(stage.run("sync_contacts"))

    def empty(world: World) -> None:
        world.contacts = {}

    stage.bridge.change(empty)
    told = synced(stage.run("sync_contacts"))

    assert (told["count"], told["applied"]) == (0, False)
    assert len(there(stage, "contacts")) == 36


def test_odd_names_and_texts_cost_nothing(stage: Stage) -> None:
    uids = list(stage.bridge.world.groups[PLAIN_GROUP].members)[-len(ODD_NAMES) :]

    def rename(world: World) -> None:
        for uid, name in zip(uids, ODD_NAMES, strict=True):
            world.people[uid].name = name
        world.groups[GROUP].name = "g\x00" + next(iter(ODD_NAMES))

    stage.bridge.change(rename)
    assert counts(members(stage)) == (36, 36, 0, 0)
    synced(stage.run("sync_groups"))

    rows = there_members(stage)
    assert [rows[uid]["name"] for uid in uids] == list(ODD_NAMES.values())
    assert counts(members(stage)) == (36, 0, 0, 0), "the same again is no change"
    group = synced(stage.run("sync_group", group_id=GROUP))["group"]
    assert group["name"] == "g\x00" + next(iter(ODD_NAMES))
    notice = stage.run("set_group_notice", group_id=GROUP, notice="n\x00\u2028" + next(iter(ODD_NAMES)))
    assert notice["status"] == "succeeded"
    assert synced(stage.run("sync_group", group_id=GROUP))["group"]["notice"] == "n\x00\u2028" + next(iter(ODD_NAMES))
