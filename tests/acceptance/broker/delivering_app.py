"""A Celery app as small as can be on our transport: a thread takes messages from Redis and puts them into the delivery.

Started by the tests as ``celery -A delivering_app worker``. The address of Redis comes in ``DELIVERING_REDIS_URL``.
"""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
# because Celery is not typed.

from __future__ import annotations

import json
import os
import select
import threading

import redis
from celery import Celery, bootsteps

from worker68.broker.delivery import Deliverable, Delivery
from worker68.broker.place import Place
from worker68.broker.source import Source
from worker68.broker.transport import broker_settings
from worker68.errors import RedisAway

REDIS_URL = os.environ["DELIVERING_REDIS_URL"]
POLL_SECONDS = 0.2

app = Celery("delivering")
app.conf.update(
    broker_settings(REDIS_URL),
    broker_connection_retry_on_startup=True,
    task_default_queue="worker68",
    task_ignore_result=True,
    worker_concurrency=4,
    worker_pool="worker68.broker.pool:TaskPool",
    worker_prefetch_multiplier=0,
    worker_send_task_events=True,
)


class Feeder(bootsteps.StartStopStep):
    """Stands in for the pump."""

    def start(self, worker: object) -> None:
        self.stopping = threading.Event()
        self.delivery = Delivery(lambda tag: note(f"given back {tag}"), lambda tag, reason: note(f"refused {tag}"))
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, "delivery": self.delivery}
        self.thread = threading.Thread(target=self.feed)
        self.thread.start()

    def stop(self, worker: object) -> None:
        self.stopping.set()
        self.thread.join()

    def feed(self) -> None:
        source = Source(REDIS_URL)
        place = Place.front_door(lease_key="lease", lease_value="ours", fence=1)
        while not self.stopping.is_set():
            try:
                with redis.Redis.from_url(REDIS_URL) as client:
                    client.set("lease", "ours")
                for popped in source.pop([place], 100).popped:
                    self.delivery.put(Deliverable(popped.field.decode(), json.loads(popped.raw)))
                    source.ack(place, [popped.field])
            except (RedisAway, redis.RedisError):
                self.stopping.wait(POLL_SECONDS)
            select.select([source], [], [], POLL_SECONDS)
        source.close()


app.steps["worker"].add(Feeder)


def note(text: str) -> None:
    with redis.Redis.from_url(REDIS_URL) as client:
        client.rpush("notes", text)


@app.task(name="record")
def record(text: str) -> None:
    note(text)


@app.task(name="wait_for_release")
def wait_for_release() -> None:
    note("waiting")
    with redis.Redis.from_url(REDIS_URL) as client:
        client.blpop("release", timeout=180)
    note("released")


@app.task(name="leave")
def leave() -> None:
    note("leaving")
    raise SystemExit(3)
