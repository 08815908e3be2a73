"""Cohorts of accounts: what all workers know is shared by all, the rest by those who know it."""

from __future__ import annotations

from worker68.fleet.cohorts import Catalogue, Cohorts, catalogue_of
from worker68.fleet.leases import FRONT
from worker68.fleet.spread import UNLABELLED, Member, label_of


def catalogue(*names: str, label: str = UNLABELLED) -> Catalogue:
    return catalogue_of(dict.fromkeys(names, label))


def test_the_front_door_is_not_shared() -> None:
    assert catalogue_of({FRONT: None, "a": "", "b": "x"}).accounts == {("a", ""), ("b", "x")}


def test_a_list_has_one_digest_whatever_its_order() -> None:
    assert catalogue("a", "b").digest == catalogue("b", "a").digest
    assert catalogue("a").digest != catalogue("a", label="x").digest


def test_one_list_alone_has_a_cohort_for_each_label() -> None:
    mine = catalogue_of({"a": "", "b": "x", "c": ""})
    cohorts = Cohorts(mine, [mine])
    assert cohorts.sizes == {"": 2, "x": 1}
    assert {cohort: list(names) for cohort, names in cohorts.names.items()} == {"": ["a", "c"], "x": ["b"]}
    assert cohorts.count(["a", "b", "unknown"]) == {"": 1, "x": 1}


def test_what_others_do_not_know_is_a_cohort_of_its_own() -> None:
    mine, other = catalogue("a", "b", "new"), catalogue("a", "b", "old")
    cohorts = Cohorts(mine, [other])
    own, theirs = f"{mine.digest}/", f"{other.digest}/"
    assert cohorts.sizes == {"": 2, own: 1, theirs: 1}
    assert cohorts.names.keys() == {"", own}
    assert cohorts.count(["a", "new"]) == {"": 1, own: 1}
    assert Member("x", digest=mine.digest).serves(own)
    assert not Member("x", digest=mine.digest).serves(theirs)
    assert label_of(own) == UNLABELLED


def test_an_account_whose_label_they_see_differently_is_known_to_each_alone() -> None:
    mine, other = catalogue_of({"a": "", "b": "x"}), catalogue_of({"a": "", "b": "y"})
    cohorts = Cohorts(mine, [other])
    own = f"{mine.digest}/x"
    assert cohorts.sizes == {"": 1, own: 1, f"{other.digest}/y": 1}
    assert Member("w", labels=frozenset("x"), digest=mine.digest).serves(own)
    assert not Member("w", digest=mine.digest).serves(own)
    assert label_of(own) == "x"
