"""``worker68.mute_member`` at a simulated bridge: what reading back shows, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import WellBehavedBridge
from tests.integration.tasks.acting import act, frames_of, look, result
from tests.parts.frames import KNOWN_REQUESTS, SEEN, plain
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, MUTABLE_MEMBER, OWNED_GROUP, PLAIN_GROUP
from worker68.simulator.world import FOR_EVER
from worker68.tasks.mute_member import LONGEST_TRIES_SECONDS

WHO: dict[str, Any] = {"group_id": OWNED_GROUP, "user_id": MUTABLE_MEMBER}


def read_back(link: Link, seconds: int, **who: Any) -> dict[str, Any] | None:
    finding = look(turn(link, "worker68.mute_member", seconds=seconds, **(who or WHO)))
    return None if finding is None else result(finding)


def test_reading_back_asks_for_the_members_detail_in_the_group(simulated_link: Link, simulated: Simulator) -> None:
    before = len(simulated.received)
    assert read_back(simulated_link, 600) is None
    (asked,) = [one.frame for one in list(simulated.received)[before:]]
    assert plain(asked) == plain(KNOWN_REQUESTS["contact_in_group"])


def test_a_mute_is_seen_where_it_is_as_long_as_it_was_asked_for(simulated_link: Link) -> None:
    result(act(simulated_link, "mute_member", seconds=3600, **WHO))
    assert read_back(simulated_link, 3600) == {"seconds": 3600}
    assert read_back(simulated_link, 3700) == {"seconds": 3700}, "it may have been made a hundred seconds ago"
    for other in (60, 3500, 3600 + int(LONGEST_TRIES_SECONDS) + 60, 0):
        assert read_back(simulated_link, other) is None, other


def test_the_end_of_a_mute_is_seen(simulated_link: Link) -> None:
    assert read_back(simulated_link, 0) == {"seconds": 0}
    assert read_back(simulated_link, 1) is None


def test_a_mute_for_ever_is_none_of_ours(simulated_link: Link, simulated: Simulator) -> None:
    member = simulated.world.groups[OWNED_GROUP].members[MUTABLE_MEMBER]
    simulated.change(lambda _: setattr(member, "muted_until_ms", FOR_EVER))
    assert read_back(simulated_link, 2**31 - 1) is None
    assert read_back(simulated_link, 0) is None


def test_one_who_is_no_member_shows_nothing(simulated_link: Link, simulated: Simulator) -> None:
    assert read_back(simulated_link, 0, group_id=PLAIN_GROUP, user_id=MUTABLE_MEMBER) is None
    assert frames_of(simulated, "ContactsDetail") == [{"targetUid": MUTABLE_MEMBER, "groupId": PLAIN_GROUP}]
    simulated.faults.refusals.set(1)
    assert read_back(simulated_link, 0, group_id=OWNED_GROUP, user_id=FRIEND) is None


@pytest.mark.parametrize(
    ("detail", "seconds", "seen"),
    [
        (SEEN["contact_in_group"]["reply"]["data"], 3600, True),
        ({"contactsDetailBase": {"groupShutupTime": "3540"}}, 3600, True),
        ({"contactsDetailBase": {"groupShutupTime": "-1"}}, 0, True),
        ({"contactsDetailBase": {"userInfo": {"uid": "7128348"}}}, 0, False),
        ({"contactsDetailBase": []}, 0, False),
        ([], 0, False),
        (1021, 0, False),
    ],
)
def test_what_a_detail_shows(worker: Worker, bridge: WellBehavedBridge, detail: Any, seconds: int, seen: bool) -> None:
    """One without the field shows nothing: a service that does not know it leaves it out too."""
    link = worker.ready_link(bridge.url)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "data": detail}]
    assert (read_back(link, seconds) is not None) is seen
