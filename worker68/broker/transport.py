"""Kombu's Redis transport, whose messages for the job queues come from a ``Delivery`` instead of from Redis.

In: ``transport_options["delivery"]``, set in the worker process before its consumer connects. With it, a channel that consumes
``worker68`` or ``worker68.*`` pops nothing from these queues: they are taken in by ``source``, and what is ready comes back
through the delivery. Binding one of them, it removes the bindings by which the same message would reach another queue too.
Every other queue, remote control, events and publishing are kombu's own; without a delivery (producers, ``celery inspect``,
Flower) everything is.

Stands on kombu 5.7 and overrides methods of its classes, some of them private; ``tests/unit/broker`` asserts that they are there,
with the arguments expected here. Look at each of them before the pin in pyproject.toml is raised.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kombu.connection import resolve_aliases
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps

from worker68.broker.delivery import Delivery
from worker68.broker.place import FRONT_DOOR
from worker68.broker.url import spell_out_tls

# How kombu finds the transport, by the scheme of the URL; shown as that scheme, which Flower's broker page depends on.
_ALIASES = {"redis": "worker68", "rediss": "worker68s"}
TRANSPORT_ALIASES.update(dict.fromkeys(_ALIASES.values(), f"{__name__}:Transport"))
resolve_aliases.update({alias: scheme for scheme, alias in _ALIASES.items()})


def broker_settings(redis_url: str) -> dict[str, str]:
    """Return Celery's settings for this transport. Import this module in every process that uses them."""
    url = spell_out_tls(redis_url)
    return {"broker_url": url, "broker_transport": _ALIASES[urlsplit(url).scheme]}


def is_job_queue(queue: str) -> bool:
    return queue == FRONT_DOOR or queue.startswith(f"{FRONT_DOOR}.")


class QoS(redis.QoS):
    """Keeps delivered messages out of kombu's hash of unacknowledged messages: they are never restored from there."""

    channel: Channel

    def append(self, message: Any, delivery_tag: str) -> None:
        if self._delivery_of(delivery_tag) is None:
            super().append(message, delivery_tag)
        else:
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        delivery = self._delivery_of(delivery_tag)
        if delivery is None:
            super().ack(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)
            delivery.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        delivery = self._delivery_of(delivery_tag)
        if delivery is None:
            super().reject(delivery_tag, requeue=requeue)
            return
        virtual.QoS.ack(self, delivery_tag)
        if requeue:
            delivery.give_back(delivery_tag)
        else:
            delivery.refuse(delivery_tag, "Celery rejected it")

    def restore_unacked(self, client: Any = None) -> None:
        """Give back everything that is not acknowledged: kombu's ``basic_recover``."""
        for delivery_tag in self._delivered_tags():
            self.reject(delivery_tag, requeue=True)
        self._flush()
        super().restore_unacked(client)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Let go of delivered messages when the channel closes, without giving them back.

        They are on their way to the loop and will run, also when the connection is lost; given back, they would run twice.
        """
        for delivery_tag in self._delivered_tags():
            virtual.QoS.ack(self, delivery_tag)
        super().restore_unacked_once(stderr)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Leave kombu's hash alone unless a queue of its own is consumed: it may be another application's."""
        if self.channel.delivery is None or self.channel.active_queues:
            super().restore_visible(start, num, interval)

    def _delivery_of(self, delivery_tag: str) -> Delivery | None:
        delivery = self.channel.delivery
        return delivery if delivery is not None and delivery.issued(delivery_tag) else None

    def _delivered_tags(self) -> list[str]:
        return [tag for tag in self._delivered if self._delivery_of(tag) is not None]


class Channel(redis.Channel):
    QoS = QoS

    delivery: Delivery | None = None
    from_transport_options = (*redis.Channel.from_transport_options, "delivery")  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # How many subscribers the last message of each fan-out exchange had.
        self.heard_by: dict[str, int] = {}

    @property
    def active_queues(self) -> list[str]:
        """The queues that kombu pops from."""
        queues: list[str] = super().active_queues
        return queues if self.delivery is None else [queue for queue in queues if not is_job_queue(queue)]

    @property
    def delivers_to(self) -> str | None:
        """The queue under whose name delivered messages are handed over: the first job queue that is consumed."""
        if self.delivery is None:
            return None
        return next(filter(is_job_queue, self._active_queues), None)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind as kombu does; let a message for a job queue's own exchange reach no other queue.

        Earlier versions bound all job queues to the front door's exchange, and kombu keeps bindings in Redis for ever.
        """
        super()._queue_bind(exchange, routing_key, pattern, queue)
        if self.delivery is None or exchange != queue or not is_job_queue(queue):
            return
        others = [
            self.sep.join(binding)
            for binding in self.get_table(exchange)
            if binding[0] == routing_key and binding[-1] != queue
        ]
        if others:
            with self.conn_or_acquire() as client:
                client.srem(self.keyprefix_queue % exchange, *others)
                client.srem(self.keyprefix_binding_permanent % exchange, *others)

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Publish as kombu does, and note how many heard it."""
        if kwargs.get("_publish_batch") is not None:
            super()._put_fanout(exchange, message, routing_key, **kwargs)
            return
        payload = dumps(message)
        with self.conn_or_acquire() as client:
            topics = self._get_publish_topics(exchange, routing_key)
            self.heard_by[exchange] = sum(client.publish(topic, payload) for topic in topics)

    def hand_over(self, delivery: Delivery) -> None:
        """Hand over what waits in the delivery, as far as the prefetch limit allows."""
        delivery.hand_over(
            lambda payload: self.connection._deliver(payload, self.delivers_to),
            lambda: self.delivers_to is not None and self.qos.can_consume(),
        )


class Poller(redis.MultiChannelPoller):
    """Watches the delivery's descriptor beside those of Redis, for as long as a job queue is consumed.

    Kombu registers ``fds`` with Celery's event loop on every tick, so a new connection takes over by itself.
    """

    def __init__(self, delivery: Delivery | None) -> None:
        super().__init__()
        self._delivery = delivery

    @property
    def fds(self) -> dict[int, Any]:
        fds: dict[int, Any] = super().fds
        channel = self._delivering_channel()
        if channel is not None and self._delivery is not None:
            fds[self._delivery.fileno()] = (channel, "DELIVERY")
        return fds

    def on_poll_start(self) -> None:
        super().on_poll_start()
        channel = self._delivering_channel()
        if channel is None or self._delivery is None:
            return
        self.poller.register(self._delivery.fileno(), self.eventflags)
        if len(self._delivery) and channel.qos.can_consume():
            # The ring may be long over: room has come back since, or somebody consumes again.
            self._delivery.ring()

    def on_readable(self, fileno: int) -> Any:
        if not self._is_delivery(fileno):
            return super().on_readable(fileno)
        assert self._delivery is not None
        # Also when nobody consumes now: a descriptor that stays readable would keep the event loop spinning.
        self._delivery.silence()
        channel = self._delivering_channel()
        if channel is not None:
            channel.hand_over(self._delivery)
        return None

    def handle_event(self, fileno: int, event: int) -> Any:
        if self._is_delivery(fileno):
            return self.on_readable(fileno), self
        return super().handle_event(fileno, event)

    def _is_delivery(self, fileno: int) -> bool:
        return self._delivery is not None and fileno == self._delivery.fileno()

    def _delivering_channel(self) -> Channel | None:
        return next((channel for channel in self._channels if channel.delivers_to is not None), None)


class Transport(redis.Transport):
    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.cycle: Any = Poller(client.transport_options.get("delivery"))
