"""What rang is taken in, and nothing else is looked at; what waits for room, or could not be written, comes later and in order."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import redis

from tests.integration.broker.places import push
from tests.parts.jobs import account, message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.onloop import run, soon
from worker68.broker import inbox
from worker68.broker.inbox import Inbox
from worker68.broker.place import Place
from worker68.broker.source import Batch, Source
from worker68.clock import monotonic
from worker68.errors import DatabaseAway
from worker68.execution.intake import Arrival, Intake
from worker68.fleet.leases import FRONT, Lease, account_lease, lease_key
from worker68.jobs.job import Job

PATIENCE_SECONDS = 60.0
ACCOUNTS = ("main", "other")


class Stand:
    """An inbox, and what its owner has of it."""

    def __init__(self, source: Source, client: redis.Redis, ledger: Ledger) -> None:
        self.source, self.client, self.ledger = source, client, ledger
        self.rooms = dict.fromkeys(ACCOUNTS, 1000)
        self.announced = 0
        self.inbox = Inbox(source, ledger.intake, self.announce)
        self.leases = {name: Lease(name, "w", 1, 1e9) for name in (FRONT, *map(account_lease, ACCOUNTS))}
        self.popped: list[str] = []
        pop = source.pop

        def note(places: Sequence[Place], limit: int) -> Batch:
            self.popped += [place.name for place in places]
            return pop(places, limit)

        source.pop = note  # type: ignore[method-assign]

    def announce(self) -> None:
        self.announced += 1

    def gain(self, *names: str) -> None:
        for name in names or self.leases:
            self.client.set(lease_key(name), self.leases[name].value)
            lease = self.leases[name]
            if lease.account is None:
                self.inbox.gain(lease)
            else:
                self.inbox.gain(lease, partial(self.rooms.__getitem__, lease.account))

    def push(self, queue: str, *ids: str, account: str | None = None) -> None:
        push(self.client, queue, *[message(kwargs=send_fields(account=account), task_id=id_) for id_ in ids])

    def take_in(self) -> list[str]:
        """Take in what is due; return the ids of the new jobs."""
        ids: list[str] = []
        while True:
            ids += [job.task_id for job in run(self.inbox.take_in())]
            if self.inbox.next_look_at != 0.0:
                return ids

    def wait_for_jobs(self) -> list[str]:
        """Take in until there are new jobs; return their ids."""
        end = monotonic() + PATIENCE_SECONDS
        ids: list[str] = []
        while not ids and monotonic() < end:
            ids += [job.task_id for job in run(self.inbox.take_in())]
        return ids

    def settle(self) -> None:
        """Take in until nothing is due any more, and forget what was popped."""
        self.take_in()
        self.popped.clear()

    def ring(self) -> None:
        """Wait until the bell rings."""

        async def hear() -> None:
            rang = asyncio.Event()
            with self.inbox.watched(rang.set):
                await soon(rang.wait())

        run(hear())


@pytest.fixture
def stand(
    source: Source,
    client: redis.Redis,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stand]:
    monkeypatch.setattr(inbox, "POLL_SECONDS", 3600.0)
    with open_ledger(sqlite_url) as ledger:
        yield Stand(source, client, ledger)


def test_what_lies_there_when_a_place_is_gained_comes_in(stand: Stand) -> None:
    stand.push("worker68.main", "a", "b")
    stand.push("worker68.other", "c")
    stand.gain()
    assert sorted(stand.take_in()) == ["a", "b", "c"]
    assert stand.client.exists("worker68:unacked:main", "worker68:unacked:other") == 0


def test_messages_of_an_account_that_is_removed_meanwhile_stay_in_their_queue_and_order(stand: Stand) -> None:
    stand.gain()
    stand.settle()
    known = {"main": account()}
    stand.inbox = Inbox(stand.source, Intake(stand.ledger.engine, known), stand.announce)
    stand.gain()
    stand.push("worker68.other", "a", "b", account="other")
    stand.push("worker68.main", "c")
    assert run(stand.inbox.take_in()) == [], "the batch goes back as a whole"
    stand.inbox.lose(stand.leases[account_lease("other")])
    assert stand.take_in() == ["c"]
    assert stand.client.exists("worker68:unacked:other") == 0
    known["other"] = account("other")
    stand.gain(account_lease("other"))
    assert stand.take_in() == ["a", "b"]
    assert stand.ledger.told() == []


def test_only_what_rang_is_looked_at(stand: Stand) -> None:
    stand.gain()
    stand.settle()
    for number in range(3):
        stand.push("worker68.other:6", f"a{number}")
        stand.ring()
        assert stand.take_in() == [f"a{number}"]
    assert stand.popped == ["other"] * 3


def test_the_front_door_is_sorted_and_the_accounts_of_this_worker_are_looked_at_at_once(stand: Stand) -> None:
    stand.gain(FRONT, account_lease("main"))
    stand.settle()
    stand.push("worker68", "a", "b", account="main")
    stand.push("worker68", "c", account="other")
    stand.push("worker68", "d", account="nobody")
    stand.ring()
    assert stand.take_in() == ["a", "b"]
    assert stand.client.llen("worker68.other") == 1
    assert stand.ledger.told() == ["d: unknown_account"]
    assert stand.announced == 1
    assert Counter(stand.popped) == {"": 1, "main": 1}
    assert stand.client.exists("worker68", "worker68:unacked") == 0


def test_an_account_that_comes_while_its_message_is_answered_makes_no_job_of_it(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner would not hear of such a job."""
    intake = stand.ledger.intake
    take_in = intake.take_in

    def come_and_take_in(arrivals: Sequence[Arrival], now: dt.datetime) -> list[Job]:
        monkeypatch.setattr(intake, "_accounts", {"late": account("late")})
        return take_in(arrivals, now)

    monkeypatch.setattr(intake, "take_in", come_and_take_in)
    stand.gain(FRONT)
    stand.push("worker68", "a", account="late")
    assert stand.take_in() == []
    assert stand.ledger.told() == ["a: unknown_account"]


def test_no_message_of_the_front_door_becomes_a_job_there_however_many_lie_there(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "SORTED", 2)
    stand.gain(FRONT, account_lease("main"))
    stand.push("worker68", *"abc", account="other")
    stand.push("worker68", *"def", account="main")
    assert stand.take_in() == ["d", "e", "f"]
    assert stand.client.llen("worker68.other") == 3


def test_the_queue_of_an_account_rings_again_after_the_front_door_was_sorted_into_it(stand: Stand) -> None:
    stand.gain()
    stand.settle()
    for number in range(3):
        stand.push("worker68", f"front {number}", account="main")
        stand.ring()
        assert stand.take_in() == [f"front {number}"]
        stand.push("worker68.main", f"own {number}")
        stand.ring()
        assert stand.take_in() == [f"own {number}"]


def test_what_waits_for_room_comes_when_a_job_has_ended(stand: Stand) -> None:
    stand.gain()
    stand.rooms["main"] = 1
    stand.push("worker68.main", "a", "b")
    assert stand.take_in() == ["a"]
    stand.rooms["main"] = 0
    stand.inbox.note_room("main")
    assert stand.take_in() == []
    stand.rooms["main"] = 5
    stand.inbox.note_room("main")
    assert stand.take_in() == ["b"]
    stand.popped.clear()
    stand.inbox.note_room("main")
    assert stand.take_in() == []
    assert stand.popped == []


def test_room_that_comes_while_a_place_without_room_is_looked_at_is_not_overlooked(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.gain()
    stand.settle()
    stand.rooms["main"] = 0
    pop = stand.source.pop

    def end_a_job_meanwhile(places: Sequence[Place], limit: int) -> Batch:
        batch = pop(places, limit)
        if "main" in batch.crowded:
            stand.rooms["main"] = 1
            stand.inbox.note_room("main")
        return batch

    monkeypatch.setattr(stand.source, "pop", end_a_job_meanwhile)
    stand.push("worker68.main", "a")
    stand.ring()
    assert stand.take_in() == ["a"]


def test_what_the_database_does_not_take_goes_back_and_comes_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.gain()
    stand.settle()
    stand.push("worker68.main", "a", "b")
    stand.ring()

    def fail(_arrivals: Sequence[Arrival], _now: object) -> None:
        raise DatabaseAway("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(stand.ledger.intake, "take_in", fail)
        with pytest.raises(DatabaseAway):
            stand.take_in()
    assert stand.client.llen("worker68.main") == 2
    assert stand.client.exists("worker68:unacked:main") == 0
    assert stand.take_in() == ["a", "b"]


def test_what_was_popped_when_something_broke_comes_again(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.gain()
    stand.settle()
    stand.push("worker68.main", "a", "b")
    stand.ring()
    with monkeypatch.context() as patch:
        patch.setattr(stand.source, "ack", None)
        with pytest.raises(TypeError):
            stand.take_in()
    assert stand.client.hlen("worker68:unacked:main") == 2
    assert stand.take_in() == [], "they were written before"
    assert stand.client.exists("worker68:unacked:main") == 0


def test_a_place_that_was_lost_is_left_alone(stand: Stand) -> None:
    stand.gain()
    stand.settle()
    stand.inbox.lose(stand.leases[account_lease("main")])
    stand.push("worker68.main", "a")
    stand.ring()
    assert stand.take_in() == []
    assert stand.popped == []


def test_a_lost_connection_makes_every_place_due(stand: Stand) -> None:
    stand.gain()
    stand.settle()
    (bell,) = [one["id"] for one in stand.client.client_list() if one["name"] == "worker68-intake-bell"]
    stand.client.client_kill_filter(_id=bell)
    stand.ring()
    stand.push("worker68.main", "a")
    assert stand.take_in() == ["a"]
    assert {"", *ACCOUNTS} <= set(stand.popped)
    stand.push("worker68.main", "b")
    stand.ring()
    assert stand.take_in() == ["b"]


def test_without_a_bell_the_slow_round_finds_what_was_pushed(
    client: redis.Redis,
    redis_url: str,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.acl_setuser(
        "plain", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=["+@all", "-client"]
    )
    source = Source(redis_url.replace("redis://", "redis://plain:secret@"))
    monkeypatch.setattr(inbox, "POLL_SECONDS", 0.01)
    try:
        with open_ledger(sqlite_url) as ledger:
            stand = Stand(source, client, ledger)
            stand.gain()
            run(stand.inbox.take_in())
            stand.push("worker68", "a", account="other")
            assert stand.wait_for_jobs() == ["a"]
    finally:
        source.close()
        client.acl_deluser("plain")


def test_a_queue_that_redis_refuses_holds_up_no_other_and_is_looked_at_again_later(
    client: redis.Redis,
    redis_url: str,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(inbox, "SAFETY", inbox.Round(0.01, 50))
    keys = ["worker68", "worker68:*", "worker68.main*"]
    user = partial(client.acl_setuser, "plain", enabled=True, passwords=["+secret"], channels=["*"], commands=["+@all"])
    user(keys=keys)
    source = Source(redis_url.replace("redis://", "redis://plain:secret@"))
    try:
        with open_ledger(sqlite_url) as ledger:
            stand = Stand(source, client, ledger)
            stand.push("worker68.other", "a")
            stand.push("worker68.main", "b")
            stand.gain(*reversed(stand.leases))
            assert stand.take_in() == ["b"]
            assert stand.client.llen("worker68.other") == 1
            user(keys=[*keys, "worker68.other*"])
            assert stand.wait_for_jobs() == ["a"]
    finally:
        source.close()
        client.acl_deluser("plain")
