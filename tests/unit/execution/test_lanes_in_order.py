"""The order of lanes: class, priority, and who has waited longest; what stands aside; and that the dead are cleared."""

from __future__ import annotations

from tests.parts.jobs import MUTE, job, mute_fields, send_fields
from worker68.execution.lanes import Kind, Lane, Order, head_of

SEND = head_of(job(1, kwargs=send_fields())).kind
MODERATION = head_of(job(2, MUTE, mute_fields())).kind


def lane(name: str, since: int) -> Lane:
    return Lane(name, since)


def every(_kind: Kind) -> bool:
    return True


def turns(order: Order) -> list[str]:
    """Return the names of all open lanes, in their order; none is open afterwards."""
    names = []
    while (found := order.first(every)) is not None:
        names.append(found[1].name)
        order.remove(found[1])
    return names


def test_class_comes_before_priority_and_that_before_waiting() -> None:
    order = Order()
    order.open(lane("late", 3), SEND, 0)
    order.open(lane("early", 1), SEND, 0)
    order.open(lane("unimportant", 0), SEND, 9)
    order.open(lane("moderation", 4), MODERATION, 9)
    assert turns(order) == ["moderation", "early", "late", "unimportant"]


def test_kinds_that_may_not_start_are_passed_over() -> None:
    order = Order()
    order.open(lane("moderation", 1), MODERATION, 0)
    order.open(lane("send", 2), SEND, 0)
    found = order.first(lambda kind: kind is SEND)
    assert found is not None
    assert found[1].name == "send"
    assert order.kinds() == [MODERATION, SEND]


def test_what_stands_aside_is_not_looked_at_until_it_is_released() -> None:
    order = Order()
    held, other = lane("held", 1), lane("other", 2)
    for each in (held, other):
        order.open(each, SEND, 0)
    order.set_aside(held, "chat")
    assert order.cause_of(held) == "chat"
    assert turns(order) == ["other"]
    assert order.release("chat") == [held]
    assert order.release("chat") == []
    assert order.cause_of(held) is None


def test_the_next_ones_are_named_without_leaving_the_order() -> None:
    order = Order()
    for since in range(5, 0, -1):
        order.open(lane(str(since), since), SEND, 0)
    assert [one.name for one in order.next_of(SEND, 3)] == ["1", "2", "3"]
    assert turns(order) == ["1", "2", "3", "4", "5"]


def test_a_lane_that_moves_again_and_again_leaves_nothing_behind() -> None:
    order = Order()
    first, mover = lane("first", 0), lane("mover", 1)
    order.open(first, SEND, 0)
    for _ in range(10_000):
        order.open(mover, SEND, 1)
        order.remove(mover)
    assert len(order._open[SEND]._heap) < 200
    assert turns(order) == ["first"]
