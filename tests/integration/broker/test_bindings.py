"""One message reaches one queue: whatever earlier versions, producers and others have written, and whatever Redis refuses."""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer
from structlog.testing import capture_logs

from tests.parts import acl
from worker68.broker.bindings import KEYS, Bindings
from worker68.errors import RedisNotNow
from worker68.execution.refusals import Refusals

OWN = b"worker68\x06\x16\x06\x16worker68"
SHARED = b"worker68\x06\x16\x06\x16worker68.main"
#: A producer's own, by which one message reaches one queue.
KEPT = b"worker68.main\x06\x16\x06\x16worker68.main"

OF_MAIN = [key % "worker68.main" for key in KEYS]


@pytest.fixture
def kombu(redis_url: str) -> Iterator[Connection]:
    with Connection(redis_url) as connection:
        yield connection


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def bindings(client: redis.Redis, refusals: Refusals) -> Bindings:
    return Bindings(client, refusals)


def publish(connection: Connection, exchange: str, routing_key: str) -> None:
    Producer(connection).publish("x", exchange=exchange, routing_key=routing_key)


def of_front(client: redis.Redis) -> list[object]:
    """Return what is bound to the front door's exchange, by both keys."""
    return [client.smembers(key % "worker68") for key in KEYS]


def refused_keys(refusals: Refusals) -> list[str]:
    return [one.key for one in refusals.now()]


def test_a_message_that_names_the_exchange_reaches_its_queue(
    client: redis.Redis, kombu: Connection, bindings: Bindings
) -> None:
    bindings.bind_all(["main"])

    publish(kombu, "worker68.main", "worker68.main")

    assert (client.llen("worker68"), client.llen("worker68.main")) == (0, 1)


def test_it_is_bound_as_kombu_binds_it(client: redis.Redis, kombu: Connection, bindings: Bindings) -> None:
    Queue("worker68", Exchange("worker68"), routing_key="worker68")(kombu).declare()
    by_kombu = {key: client.smembers(key) for key in client.scan_iter("_kombu.*")}
    client.flushdb()

    bindings.bind_all([])

    assert {key: client.smembers(key) for key in client.scan_iter("_kombu.*")} == by_kombu


def test_an_account_is_bound_once_and_anew_with_all_of_them(client: redis.Redis, bindings: Bindings) -> None:
    bindings.bind("main")
    client.delete(*OF_MAIN)

    bindings.bind("main")
    assert not client.exists(*OF_MAIN)

    bindings.bind_all(["main"])
    assert client.exists(*OF_MAIN) == len(OF_MAIN)


def test_a_message_for_the_front_door_reaches_no_other_queue(
    client: redis.Redis, kombu: Connection, bindings: Bindings
) -> None:
    """Earlier versions bound all queues to the front door's exchange with one routing key."""
    for key in KEYS:
        client.sadd(key % "worker68", SHARED, KEPT)

    bindings.bind_all(["main"])

    publish(kombu, "worker68", "worker68")
    assert (client.llen("worker68"), client.llen("worker68.main")) == (1, 0)
    assert of_front(client) == [{OWN, KEPT}] * 2
    for key in OF_MAIN:
        assert client.smembers(key) == {KEPT}


class TestWhatOthersWrite:
    def test_a_producer_with_another_separator_is_no_fault(
        self, client: redis.Redis, redis_url: str, bindings: Bindings
    ) -> None:
        """So Celery's documentation has priorities set up: ``broker_transport_options = {"sep": ":"}``."""
        with Connection(redis_url, transport_options={"sep": ":"}) as producer:
            Queue("worker68.main", Exchange("worker68.main"), routing_key="worker68.main")(producer).declare()
        theirs = b"worker68.main::worker68.main"
        assert all(client.smembers(key) == {theirs} for key in OF_MAIN)

        bindings.bind_all(["main"])

        assert all(client.smembers(key) == {theirs, KEPT} for key in OF_MAIN)

    def test_what_leads_elsewhere_is_removed_whatever_the_separator(
        self, client: redis.Redis, bindings: Bindings
    ) -> None:
        kept = {b"worker68::worker68", b"worker68.main::worker68.main"}
        for key in KEYS:
            client.sadd(key % "worker68", b"worker68::worker68.main", *kept)

        bindings.bind_all(["main"])

        assert of_front(client) == [{OWN, *kept}] * 2

    def test_what_cannot_be_read_stays(self, client: redis.Redis, bindings: Bindings) -> None:
        halves = [b"worker68:worker68.main", b"worker68\x06\x16worker68.main"]
        scribbles = [b"x", b"", b"\xff", *halves, b"worker68\x06\x16" * 4]
        for key in KEYS:
            client.sadd(key % "worker68", SHARED, *scribbles)

        bindings.bind_all(["main"])

        assert of_front(client) == [{OWN, *scribbles}] * 2


class TestWhatRedisRefuses:
    def test_a_key_of_another_type_costs_the_others_nothing(
        self, client: redis.Redis, bindings: Bindings, refusals: Refusals
    ) -> None:
        client.set(OF_MAIN[0], "x")
        client.sadd(KEYS[0] % "worker68", SHARED)

        bindings.bind_all(["main", "second"])

        assert of_front(client) == [{OWN}] * 2
        assert client.smembers(OF_MAIN[1]) == {KEPT}
        assert all(client.scard(key % "worker68.second") == 1 for key in KEYS)
        (refused,) = refusals.now()
        assert (refused.key, refused.what, refused.problem[:9]) == (OF_MAIN[0], "binding", "WRONGTYPE")

    def test_it_is_said_once_and_no_more_when_it_was_put_right(
        self, client: redis.Redis, bindings: Bindings, refusals: Refusals
    ) -> None:
        client.set(OF_MAIN[0], "x")
        with capture_logs() as logs:
            bindings.bind("main")
            bindings.bind("main")
            for _ in range(2):
                bindings.bind_all(["main"])
        assert [(line["event"], line["key"]) for line in logs] == [("redis_refused", OF_MAIN[0])]

        client.delete(OF_MAIN[0])
        bindings.bind_all(["main"])

        assert refused_keys(refusals) == []
        assert client.smembers(OF_MAIN[0]) == {KEPT}

    @pytest.mark.parametrize(
        ("rules", "refused"),
        [
            ("resetkeys ~worker68* ~_kombu.binding.worker68*", OF_MAIN[1:]),
            ("resetkeys ~worker68*", OF_MAIN),
            ("-sadd", OF_MAIN),
            ("-smembers", OF_MAIN),
            ("-srem", OF_MAIN[:1]),
        ],
    )
    def test_a_right_that_is_missing_keeps_no_account_waiting(
        self, client: redis.Redis, redis_url: str, refusals: Refusals, rules: str, refused: list[str]
    ) -> None:
        client.sadd(OF_MAIN[0], b"worker68.main\x06\x16\x06\x16worker68.second")
        acl.make_user(client, [*acl.lines_of_page(), rules])
        with redis.Redis.from_url(acl.url_of(redis_url), protocol=2) as user:
            try:
                Bindings(user, refusals).bind("main")
            finally:
                client.acl_deluser(acl.USER)
        assert refused_keys(refusals) == refused
        assert all(one.problem.startswith("NOPERM") for one in refusals.now())

    def test_a_redis_that_is_full_is_asked_again(
        self, client: redis.Redis, bindings: Bindings, refusals: Refusals
    ) -> None:
        client.config_set("maxmemory", 1)
        try:
            for _ in range(2):
                with pytest.raises(RedisNotNow):
                    bindings.bind("main")
        finally:
            client.config_set("maxmemory", 0)
        bindings.bind("main")
        assert all(client.smembers(key) == {KEPT} for key in OF_MAIN)
        assert refused_keys(refusals) == []
