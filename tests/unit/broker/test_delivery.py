"""A delivery hands over in order, once, and one message's error is only that message's."""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

import json
import select
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.utils import json as kombu_json

from worker68.broker.delivery import Deliverable, Delivery


class Sender:
    """What the delivery told its sender."""

    def __init__(self) -> None:
        self.given_back: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.delivery = Delivery(self.given_back.append, lambda tag, reason: self.refused.append((tag, reason)))


class Celery:
    """Takes what is handed over, as Celery's consumer would."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []

    def __call__(self, payload: dict[str, Any]) -> None:
        self.payloads.append(payload)

    @property
    def bodies(self) -> list[str]:
        return [payload["body"] for payload in self.payloads]

    @property
    def tags(self) -> list[str]:
        return [payload["properties"]["delivery_tag"] for payload in self.payloads]


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.delivery.close()


def message(tag: str, **properties: Any) -> Deliverable:
    return Deliverable(tag, {"body": f"body of {tag}", "headers": {}, "properties": properties})


def room() -> bool:
    return True


def is_readable(delivery: Delivery) -> bool:
    return bool(select.select([delivery], [], [], 0)[0])


def test_everything_that_waits_is_handed_over_in_order(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"), message("b"))
    sender.delivery.put(message("c"))

    sender.delivery.hand_over(celery, room)

    assert celery.bodies == ["body of a", "body of b", "body of c"]
    assert len(sender.delivery) == 0
    assert sender.delivery.outstanding() == ["a", "b", "c"]


def test_nothing_is_handed_over_twice(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"))

    sender.delivery.hand_over(celery, room)
    sender.delivery.hand_over(celery, room)

    assert len(celery.payloads) == 1


def test_delivery_tags_are_its_own_whatever_the_producer_wrote(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a", delivery_tag="x"), message("b", delivery_tag="x"))

    sender.delivery.hand_over(celery, room)

    assert len(set(celery.tags)) == 2
    assert all(map(sender.delivery.issued, celery.tags))
    assert not sender.delivery.issued("x")


def test_the_senders_payload_is_left_as_it_was(sender: Sender) -> None:
    deliverable = message("a", delivery_tag="x")
    sender.delivery.put(deliverable)

    sender.delivery.hand_over(Celery(), room)

    assert deliverable.raw["properties"] == {"delivery_tag": "x"}


def test_an_acknowledged_message_is_forgotten(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"))
    sender.delivery.hand_over(celery, room)

    sender.delivery.acknowledge(celery.tags[0])
    sender.delivery.give_back(celery.tags[0])

    assert sender.delivery.outstanding() == []
    assert sender.given_back == []


def test_a_message_is_given_back_once(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"))
    sender.delivery.hand_over(celery, room)

    sender.delivery.give_back(celery.tags[0])
    sender.delivery.give_back(celery.tags[0])

    assert sender.given_back == ["a"]


def test_a_message_that_makes_celery_fail_is_refused_and_the_next_ones_arrive(sender: Sender) -> None:
    arrived: list[str] = []

    def deliver(payload: dict[str, Any]) -> None:
        if payload["body"] == "body of bad":
            raise KeyError("secret text")
        arrived.append(payload["body"])

    sender.delivery.put(message("a"), message("bad"), message("b"))
    sender.delivery.hand_over(deliver, room)

    assert arrived == ["body of a", "body of b"]
    ((tag, reason),) = sender.refused
    assert tag == "bad"
    assert reason.startswith("KeyError in deliver")
    assert "secret text" not in reason


@pytest.mark.parametrize("raw", [{}, {"properties": None}, {"properties": []}, {"properties": "abc"}])
def test_a_payload_without_properties_is_refused(sender: Sender, raw: dict[str, Any]) -> None:
    sender.delivery.put(Deliverable("bad", raw))

    sender.delivery.hand_over(Celery(), room)

    assert [tag for tag, _ in sender.refused] == ["bad"]
    assert sender.delivery.outstanding() == []


def test_what_celery_acknowledges_before_it_could_run_is_refused(sender: Sender) -> None:
    sender.delivery.put(message("undecodable"))

    sender.delivery.hand_over(lambda payload: sender.delivery.acknowledge(payload["properties"]["delivery_tag"]), room)

    assert [tag for tag, _ in sender.refused] == ["undecodable"]


def test_what_a_thread_has_begun_before_the_hand_over_returns_is_forgotten(sender: Sender) -> None:
    def begin(payload: dict[str, Any]) -> None:
        thread = threading.Thread(target=sender.delivery.acknowledge, args=[payload["properties"]["delivery_tag"]])
        thread.start()
        thread.join()

    sender.delivery.put(message("quick"))
    sender.delivery.hand_over(begin, room)

    assert (sender.refused, sender.given_back, sender.delivery.outstanding()) == ([], [], [])


def test_a_shutdown_in_the_middle_leaves_the_message_where_it_was(sender: Sender) -> None:
    def shut_down(payload: dict[str, Any]) -> None:
        raise SystemExit

    sender.delivery.put(message("a"), message("b"))
    with pytest.raises(SystemExit):
        sender.delivery.hand_over(shut_down, room)

    assert [d.tag for d in sender.delivery.take_back()] == ["a", "b"]
    assert sender.delivery.outstanding() == []


def test_an_error_of_the_sender_stops_nothing() -> None:
    def fail(*_: str) -> None:
        raise RuntimeError

    delivery = Delivery(fail, fail)
    celery = Celery()
    delivery.put(Deliverable("bad", {}), message("a"))

    delivery.hand_over(celery, room)
    delivery.give_back(celery.tags[0])

    assert celery.bodies == ["body of a"]
    delivery.close()


def test_without_room_it_stops_and_goes_on_later(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"), message("b"), message("c"))

    sender.delivery.hand_over(celery, lambda: len(celery.payloads) < 2)
    assert len(celery.payloads) == 2
    sender.delivery.hand_over(celery, room)

    assert celery.bodies[-1] == "body of c"


def test_while_paused_nothing_is_handed_over(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.pause()
    sender.delivery.put(message("a"))
    sender.delivery.hand_over(celery, room)
    assert celery.payloads == []

    sender.delivery.silence()
    sender.delivery.resume()

    assert is_readable(sender.delivery)
    sender.delivery.hand_over(celery, room)
    assert celery.bodies == ["body of a"]


def test_what_was_taken_back_is_not_handed_over(sender: Sender) -> None:
    celery = Celery()
    sender.delivery.put(message("a"), message("b"))

    assert [d.tag for d in sender.delivery.take_back()] == ["a", "b"]
    sender.delivery.hand_over(celery, room)

    assert celery.payloads == []


def test_putting_rings_and_silence_ends_it(sender: Sender) -> None:
    assert not is_readable(sender.delivery)
    for _ in range(1000):
        sender.delivery.put(message("a"))
    assert is_readable(sender.delivery)

    sender.delivery.silence()

    assert not is_readable(sender.delivery)
    sender.delivery.silence()
    sender.delivery.put(message("a"))
    assert is_readable(sender.delivery)


def test_remote_control_can_show_it(sender: Sender) -> None:
    shown = kombu_json.dumps({"delivery": sender.delivery})

    assert json.loads(shown) == {"delivery": "<Delivery: 0 waiting, 0 outstanding>"}
