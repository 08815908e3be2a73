"""Ownership of several workers on a real Redis: each takes its share, and gives up what is beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
import redis
from msgspec.structs import replace

from tests.integration.fleet.owners import MAIN, OTHER, Start, wait_until
from tests.parts.onloop import stop_service
from worker68.fleet.leases import FRONT, account_lease, lease_key
from worker68.fleet.members import WORDS_KEY, Members, Word
from worker68.fleet.ownership import Ownership
from worker68.loop import LoopThread

ACCOUNTS = [account_lease(f"account-{number}") for number in range(12)]


def counts(*workers: Ownership) -> list[int]:
    """Return how many accounts each holds."""
    return [sum(lease.account is not None for lease in worker.held()) for worker in workers]


def test_workers_that_come_and_go_share_evenly_with_few_moves(start: Start, loop: LoopThread) -> None:
    first, of_first = start(*ACCOUNTS, FRONT)
    wait_until(lambda: counts(first) == [12])
    second, _ = start(*ACCOUNTS, FRONT)
    wait_until(lambda: counts(first, second) == [6, 6])
    third, of_third = start(*ACCOUNTS, FRONT)
    wait_until(lambda: counts(first, second, third) == [4, 4, 4])
    assert first.lease(FRONT), "it belongs to no share"
    stop_service(loop, second)
    wait_until(lambda: counts(first, third) == [6, 6])
    assert len([word for word in of_first.words if word.startswith("lost")]) == 8
    assert of_third.words == [f"gained {lease.name}" for _, lease in of_third.entries]


def test_a_killed_workers_accounts_are_shared(start: Start, loop: LoopThread, client: redis.Redis) -> None:
    Members(client, "dead", 0.001).look(Word("", 1, [], {}), anew=True)
    for name in ACCOUNTS[:6]:
        client.set(lease_key(name), "dead|1", px=1500)
    one, _ = start(*ACCOUNTS, ttl=2.0)
    two, _ = start(*ACCOUNTS, ttl=2.0)
    wait_until(lambda: counts(one, two) == [6, 6])
    assert not client.hexists(WORDS_KEY, "dead")


def test_a_busy_account_leaves_when_its_jobs_have_ended(start: Start, client: redis.Redis) -> None:
    busy = {MAIN, OTHER}
    first, of_first = start(MAIN, OTHER, is_busy=lambda lease: lease.name in busy)
    wait_until(lambda: counts(first) == [2])
    second, of_second = start(MAIN, OTHER)
    wait_until(lambda: any(lease.leaving for lease in first.held()))
    [leaving] = [lease for lease in first.held() if lease.leaving]
    wait_until(lambda: len(of_first.words) > 2)
    assert of_first.words[2:] == [f"leaving {leaving.name}"]
    assert client.get(lease_key(leaving.name)) == leaving.value.encode()
    assert leaving.held
    busy.discard(leaving.name)
    assert of_second.wait_for(f"gained {leaving.name}").fence > leaving.fence
    assert of_first.words[2:] == [f"leaving {leaving.name}", f"lost {leaving.name}"]
    assert counts(first, second) == [1, 1]


def test_an_idle_account_goes_rather_than_a_busy_one(start: Start) -> None:
    first, _ = start(MAIN, OTHER, is_busy=lambda lease: lease.name == MAIN)
    wait_until(lambda: counts(first) == [2])
    _, of_second = start(MAIN, OTHER)
    of_second.wait_for(f"gained {OTHER}")
    assert first.lease(MAIN)


def test_an_account_that_stays_busy_leaves_all_the_same(start: Start) -> None:
    first, _ = start(MAIN, OTHER, is_busy=lambda lease: True, leave_seconds=0.1)
    wait_until(lambda: counts(first) == [2])
    second, _ = start(MAIN, OTHER)
    wait_until(lambda: counts(first, second) == [1, 1])


def test_a_worker_that_stops_gives_up_what_was_leaving(start: Start, loop: LoopThread, client: redis.Redis) -> None:
    first, of_first = start(MAIN, OTHER, is_busy=lambda lease: True)
    wait_until(lambda: counts(first) == [2])
    second, _ = start(MAIN, OTHER)
    wait_until(lambda: any(lease.leaving for lease in first.held()))
    stop_service(loop, first)
    wait_until(lambda: counts(first, second) == [0, 2])
    assert sorted(word for word in of_first.words if word.startswith("lost")) == [f"lost {MAIN}", f"lost {OTHER}"]


def test_accounts_that_no_worker_of_the_share_takes_are_taken_by_another(start: Start, client: redis.Redis) -> None:
    """A worker says that it lives, and takes nothing."""
    first, of_first = start(*ACCOUNTS, ttl=2.0)
    wait_until(lambda: counts(first) == [12])
    said = msgspec.json.decode(cast("bytes", client.hget(WORDS_KEY, first.worker_id)), type=Word)
    Members(client, "idle", 3600.0).look(replace(said, held={}), anew=True)
    wait_until(lambda: len([entry for entry in of_first.words if entry.startswith("lost")]) >= 6)
    wait_until(lambda: counts(first)[0] > 6)


class Known:
    """The accounts that a worker knows: another object where they are others."""

    def __init__(self, **labels: str) -> None:
        self.labels: Mapping[str, str | None] | None = None
        if labels:
            self.know(**labels)

    def know(self, **labels: str) -> None:
        self.labels = {account_lease(name): label for name, label in labels.items()}

    def __call__(self) -> Mapping[str, str | None] | None:
        return self.labels


def look_anew(loop: LoopThread, ownership: Ownership, *given_up: str) -> None:
    loop.loop.tell(lambda: ownership.look_anew(given_up))


def test_nothing_is_taken_before_it_is_known_what_there_is(start: Start, loop: LoopThread) -> None:
    known = Known()
    one, diary = start(there_is=known)
    look_anew(loop, one)
    assert diary.words == []
    known.know(main="")
    look_anew(loop, one)
    diary.wait_for(f"gained {MAIN}")


def test_an_account_that_comes_is_taken_and_one_that_goes_is_given_up(
    start: Start, loop: LoopThread, client: redis.Redis
) -> None:
    known, busy = Known(main=""), {MAIN}
    one, diary = start(there_is=known, is_busy=lambda lease: lease.name in busy)
    diary.wait_for(f"gained {MAIN}")
    known.know(other="")
    look_anew(loop, one)
    diary.wait_for(f"gained {OTHER}")
    leaving = diary.wait_for(f"leaving {MAIN}")
    assert client.get(lease_key(MAIN)) == leaving.value.encode(), "as long as something goes on under it"
    busy.clear()
    diary.wait_for(f"lost {MAIN}")
    wait_until(lambda: not client.exists(lease_key(MAIN)))


def test_an_account_that_has_changed_is_taken_anew(start: Start, loop: LoopThread) -> None:
    known = Known(main="", other="")
    one, diary = start(there_is=known)
    before, kept = (diary.wait_for(f"gained {name}") for name in (MAIN, OTHER))
    look_anew(loop, one, MAIN, "account:not-held")
    assert diary.wait_for(f"gained {MAIN}", times=2).fence > before.fence
    assert one.lease(OTHER) is kept


def test_an_account_whose_new_label_is_not_served_is_given_up(start: Start, loop: LoopThread) -> None:
    known = Known(main="", other="")
    one, diary = start(there_is=known)
    wait_until(lambda: counts(one) == [2])
    known.know(main="berlin", other="")
    look_anew(loop, one)
    diary.wait_for(f"lost {MAIN}")
    assert one.lease(OTHER)


def test_workers_that_know_other_accounts_share_what_both_know(start: Start) -> None:
    old, _ = start(*ACCOUNTS[:8])
    wait_until(lambda: counts(old) == [8])
    new, _ = start(*ACCOUNTS)
    wait_until(lambda: counts(old, new) == [6, 6])
    assert all(new.lease(name) for name in ACCOUNTS[8:])
