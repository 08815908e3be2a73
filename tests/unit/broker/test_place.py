"""The names of the keys of a place in Redis."""

# mypy: disallow-untyped-calls=False
# because neither kombu's functions nor redis-py's parser are typed.

from __future__ import annotations

from worker68.broker.place import FRONT_NAME, Place, lists_of


def test_a_queue_is_celerys_lists_in_order_with_both_separators() -> None:
    assert lists_of("q") == ("q", "q\x06\x163", "q:3", "q\x06\x166", "q:6", "q\x06\x169", "q:9")


def test_the_keys_of_an_account() -> None:
    place = Place("main", "k", "v", 3)

    assert (place.queue, place.unacked_key) == (
        "worker68.main",
        "worker68:unacked:main",
    )


def test_the_front_door_shares_no_key_with_an_account_whatever_its_name() -> None:
    front = Place(FRONT_NAME, "k", "v", 3)

    for name in ("front", "worker68"):
        account = Place(name, "k", "v", 3)
        assert {front.queue, front.unacked_key}.isdisjoint({account.queue, account.unacked_key})
