"""What the bridge says unasked: a logout as late as the client notices it, and the talk of others."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.simulator.peer import Peer, connected
from worker68.simulator import Faults, Simulator
from worker68.simulator.queues import ClientKnobs


def network(peer: Peer) -> str:
    """Read the next word about the login."""
    while True:
        frame: Any = json.loads(peer.read())
        if frame.get("operator") == "network":
            return str(frame["data"]["networkStatusType"])


def test_a_logout_is_noticed_late_and_heartbeats_go_on_until_then() -> None:
    faults = Faults(client=ClientKnobs(logout_delay_seconds=0.1))
    with Simulator(heartbeat_seconds=0.01, faults=faults) as simulator, connected(simulator) as peer:
        assert network(peer) == "socketLogin"
        simulator.faults.logged_out = True
        while (said := network(peer)) != "socketLoginout":
            assert said == "socketLogin"
        simulator.faults.logged_out = False
        assert network(peer) == "socketLogin"


def test_a_login_in_between_takes_the_logout_back(simulator: Simulator, peer: Peer) -> None:
    simulator.faults.client.logout_delay_seconds = 600
    simulator.log_out()
    assert network(peer) == "socketLogin", "not noticed yet"
    simulator.log_in()
    assert network(peer) == "socketLogin"
    simulator.faults.client.logout_delay_seconds = 0.01
    simulator.log_out()
    assert network(peer) == "socketLogin"
    assert network(peer) == "socketLoginout"


def test_others_write_as_often_as_they_should(simulator: Simulator, peer: Peer) -> None:
    simulator.faults.chatter_per_second = 200
    messages = [peer.read_until(lambda frame: frame.get("operator") == "msgNew")["data"] for _ in range(20)]
    assert {message["isSelf"] for message in messages} == {False}
    assert len({message["groupId"] for message in messages}) == 3
    assert simulator.world.account not in {message["sendUid"] for message in messages}


def test_a_client_that_is_far_behind_gets_no_more_to_read(simulator: Simulator, peer: Peer) -> None:
    """Every frame takes it ten minutes, so after the first one, which it reads, one more makes it late enough."""
    simulator.faults.client.in_gap_seconds = 600
    simulator.faults.chatter_per_second = 1000
    peer.read_until(lambda frame: frame.get("operator") == "msgNew")
    seen = len(peer.frames)
    for _ in range(20):
        peer.catch_up()
    assert [frame for frame in peer.frames[seen:] if frame.get("operator") == "msgNew"] == []
    assert simulator._stream.behind_seconds <= 2 * 600
