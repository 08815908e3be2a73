"""The spread of accounts over workers: even, in proportion, as the labels permit, with as few moves as that takes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from worker68.fleet.spread import UNLABELLED, Counts, Member, spread

LABELS = (UNLABELLED, "berlin", "tokyo")


def held(*counts: int) -> list[Member]:
    """Return equal workers that hold so many accounts."""
    return [Member(f"worker-{place}", held={UNLABELLED: count}) for place, count in enumerate(counts)]


def totals(share: Counts) -> list[int]:
    return [sum(counts.values()) for _, counts in sorted(share.items())]


def share_of(accounts: int, members: Sequence[Member]) -> list[int]:
    return totals(spread({UNLABELLED: accounts}, members))


def test_the_first_worker_gets_all() -> None:
    assert share_of(12, held(0)) == [12]


def test_free_accounts_go_to_those_that_have_the_least() -> None:
    assert share_of(12, held(4, 4, 0)) == [4, 4, 4]
    assert share_of(13, held(5, 4, 0)) == [5, 4, 4]


def test_a_new_worker_gets_its_part_from_those_that_have_the_most() -> None:
    assert share_of(12, held(12, 0, 0)) == [4, 4, 4]
    assert share_of(12, held(6, 6, 0)) == [4, 4, 4]
    assert share_of(13, held(4, 4, 4, 1)) == [3, 3, 4, 3]


def test_what_is_even_within_one_stays_where_it_is() -> None:
    assert share_of(13, held(4, 5, 4)) == [4, 5, 4]
    assert share_of(2, held(1, 0, 1)) == [1, 0, 1]


def test_weights_are_proportions() -> None:
    assert share_of(12, [Member("a", weight=2), Member("b", weight=1)]) == [8, 4]
    assert share_of(4, [Member("a", weight=1, held={UNLABELLED: 4}), Member("b", weight=3)]) == [1, 3]


def test_labels_bind_and_the_others_fill_up() -> None:
    members = [Member("a", labels=frozenset({"berlin"}), held={UNLABELLED: 4}), Member("b")]
    share = spread({"berlin": 3, UNLABELLED: 4}, members)
    assert share["a"]["berlin"] == 3
    assert sorted(totals(share)) == [3, 4]


def test_a_label_that_no_worker_serves_is_left_out() -> None:
    assert spread({"berlin": 3, UNLABELLED: 1}, [Member("a")]) == {"a": {UNLABELLED: 1}}


def test_an_account_moves_on_where_labels_prevent_a_direct_move() -> None:
    """The first serves one label alone with the second, and the second another one with the third."""
    members = [
        Member("a", labels=frozenset({"berlin"}), held={"berlin": 4}),
        Member("b", labels=frozenset({"berlin", "tokyo"}), held={"tokyo": 2}),
        Member("c", labels=frozenset({"tokyo"}), held={}),
    ]
    assert totals(spread({"berlin": 4, "tokyo": 2}, members)) == [2, 2, 2]


def workers(weights: st.SearchStrategy[int], labels: st.SearchStrategy[frozenset[str]]) -> st.SearchStrategy[Member]:
    return st.builds(Member, worker=st.just(""), weight=weights, labels=labels)


equals = workers(st.just(1), st.just(frozenset()))
weighted = workers(st.integers(1, 5), st.just(frozenset()))
labelled = workers(st.integers(1, 3), st.frozensets(st.sampled_from(LABELS[1:])))


def named(members: Sequence[Member]) -> list[Member]:
    return [replace(member, worker=f"worker-{place:03}") for place, member in enumerate(members)]


def moved(before: Sequence[Member], after: Counts) -> int:
    """Return how many accounts leave a worker that holds them."""
    return sum(
        max(0, count - after[member.worker].get(label, 0)) for member in before for label, count in member.held.items()
    )


@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=8), free=st.integers(0, 12))
def test_equal_workers_are_within_one_of_the_mean_after_the_fewest_moves(counts: list[int], free: int) -> None:
    accounts, members = sum(counts) + free, held(*counts)
    after = spread({UNLABELLED: accounts}, members)
    assert sum(totals(after)) == accounts
    low, more = divmod(accounts, len(counts))
    assert sorted(totals(after)) == [low] * (len(counts) - more) + [low + 1] * more
    # Of the even spreads the one that leaves the most where they are lets those with the most have one more.
    best = [low + 1] * more + [low] * (len(counts) - more)
    fewest = sum(max(0, count - most) for count, most in zip(sorted(counts, reverse=True), best, strict=True))
    assert moved(members, after) == fewest


@given(
    members=st.one_of([st.lists(kind, min_size=1, max_size=6) for kind in (equals, weighted, labelled)]),
    accounts=st.fixed_dictionaries({label: st.integers(0, 12) for label in LABELS}),
    seed=st.integers(),
)
def test_workers_that_come_and_go_each_take_their_share_and_then_it_is_at_rest(
    members: list[Member], accounts: Mapping[str, int], seed: int
) -> None:
    """A model of the fleet: each worker acts by itself on what it sees, in any order, until no worker does anything."""
    chance = random.Random(seed)
    live: dict[str, Member] = {}
    for newcomer in named(members):
        live[newcomer.worker] = newcomer
        if len(live) > 2 and chance.random() < 0.3:
            del live[chance.choice(sorted(live))]
        settle(live, accounts, chance)
        check_even(live, accounts)


def settle(live: dict[str, Member], accounts: Mapping[str, int], chance: random.Random) -> None:
    """Let workers act until none does anything. What one has done the others see only when it acts again."""
    seen = dict(live)
    for _ in range(200):
        changed = [act(live, seen, worker, accounts) for worker in chance.sample(sorted(live), len(live))]
        if not any(changed):
            return
    raise AssertionError("it does not come to rest")


def act(live: dict[str, Member], seen: dict[str, Member], worker: str, accounts: Mapping[str, int]) -> bool:
    """Let a worker say what it holds, give up what is beyond its share, and take of what is free what it lacks.

    Return whether it did anything, or said anything new.
    """
    me = live[worker]
    is_new, seen[worker] = seen[worker] != me, me
    share = spread(accounts, list(seen.values()))[worker]
    now = dict(me.held)
    for label, most in share.items():
        others = sum(member.held.get(label, 0) for member in live.values() if member is not me)
        now[label] = min(most, accounts[label] - others)
    live[worker] = replace(me, held=now)
    return is_new or any(now.get(label, 0) != me.held.get(label, 0) for label in accounts)


def check_even(live: Mapping[str, Member], accounts: Mapping[str, int]) -> None:
    """Each account that is served has one owner, and no single move would bring the counts nearer to the weights."""
    members = list(live.values())
    for label, count in accounts.items():
        served = any(member.serves(label) for member in members)
        assert sum(member.held.get(label, 0) for member in members) == (count if served else 0)
        assert all(member.serves(label) for member in members if member.held.get(label, 0))
    for giver in members:
        for label in (label for label, count in giver.held.items() if count):
            for taker in (member for member in members if member.serves(label) and member is not giver):
                gives, takes = sum(giver.held.values()), sum(taker.held.values())
                assert (2 * gives - 1) * taker.weight <= (2 * takes + 1) * giver.weight


@given(members=st.lists(weighted, min_size=1, max_size=6), accounts=st.integers(0, 60))
def test_the_share_of_each_weight_is_near_its_part(members: list[Member], accounts: int) -> None:
    members = named(members)
    whole = sum(member.weight for member in members)
    for member in members:
        count = spread({UNLABELLED: accounts}, members)[member.worker][UNLABELLED]
        assert abs(count - accounts * member.weight / whole) <= 1 + len(members) / 2
