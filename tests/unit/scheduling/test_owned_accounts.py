"""The accounts that a worker owns, while one of them is about to be given up."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

from tests.parts.onloop import run
from worker68.broker.inbox import Inbox
from worker68.fleet.leases import FRONT, Lease, account_lease
from worker68.scheduling.owned_accounts import OwnedAccounts


class Places:
    """An inbox of which only the places matter."""

    def __init__(self) -> None:
        self.taken_from: list[str] = []

    def gain(self, lease: Lease, room: Any = None) -> None:
        self.taken_from.append(lease.name)

    def lose(self, lease: Lease) -> None:
        if lease.name in self.taken_from:
            self.taken_from.remove(lease.name)


class Scene:
    """One account, whose lease is gained."""

    def __init__(self) -> None:
        self.dispatch = SimpleNamespace(in_flight=0)
        self.inbox = Places()
        self.owned = OwnedAccounts(self._open, cast(Inbox, self.inbox))
        self.lease = Lease(account_lease("main"), "worker", 1, math.inf)
        self.owned.gained(self.lease)

    async def _open(self, name: str, lease: Lease) -> Any:
        return SimpleNamespace(name=name, dispatch=self.dispatch, upkeep=SimpleNamespace(room=1))

    def go_round(self) -> None:
        async def go() -> None:
            self.owned.apply_changes()
            for name in self.owned.unopened(10):
                await self.owned.open(name)
            self.owned.apply_changes()

        run(go())


def test_an_account_that_leaves_is_busy_until_a_round_takes_nothing_in_any_more() -> None:
    scene = Scene()
    scene.go_round()
    assert scene.inbox.taken_from == [scene.lease.name]
    assert not scene.owned.is_busy(scene.lease)
    scene.owned.leaving(scene.lease)
    assert scene.owned.is_busy(scene.lease)
    scene.go_round()
    assert scene.inbox.taken_from == []
    assert not scene.owned.is_busy(scene.lease)
    assert scene.owned.names() == ["main"], "what is under way needs it"


def test_an_account_is_busy_while_a_job_is_under_way() -> None:
    scene = Scene()
    scene.go_round()
    scene.dispatch.in_flight = 1
    assert scene.owned.is_busy(scene.lease)


def test_an_account_that_leaves_before_it_was_opened_is_never_opened() -> None:
    scene = Scene()
    scene.owned.leaving(scene.lease)
    scene.go_round()
    assert scene.owned.names() == []
    assert not scene.owned.is_busy(scene.lease)
    scene.owned.lost(scene.lease)
    scene.go_round()
    assert scene.owned.names() == []


def test_an_account_that_is_lost_while_it_is_opened_is_not_there_afterwards() -> None:
    scene = Scene()

    async def lose_meanwhile() -> None:
        scene.owned.apply_changes()
        await scene.owned.open("main")
        scene.owned.lost(scene.lease)
        scene.owned.apply_changes()

    run(lose_meanwhile())
    assert scene.owned.names() == []
    assert scene.inbox.taken_from == []


def test_an_account_of_a_new_lease_is_opened_anew() -> None:
    """What was opened under the lease before is not taken for it."""
    scene = Scene()
    again = Lease(account_lease("main"), "worker", 2, math.inf)

    async def lose_and_gain_meanwhile() -> None:
        scene.owned.apply_changes()
        opening = scene.owned.open("main")
        scene.owned.lost(scene.lease)
        scene.owned.gained(again)
        await opening
        scene.owned.apply_changes()

    run(lose_and_gain_meanwhile())
    assert scene.owned.names() == []
    scene.go_round()
    assert scene.owned.names() == ["main"]


def test_the_queues_follow_what_is_owned() -> None:
    scene = Scene()
    front = Lease(FRONT, "worker", 1, math.inf)
    assert scene.owned.queues() == []
    scene.owned.gained(front)
    scene.go_round()
    assert scene.owned.queues() == ["worker68", "worker68.main"]
    scene.owned.lost(front)
    scene.go_round()
    assert scene.owned.queues() == ["worker68.main"]
