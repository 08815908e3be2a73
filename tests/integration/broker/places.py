"""The queues of an account as the tests of the source use them: owned, filled, emptied."""

from __future__ import annotations

import redis

from worker68.broker.place import Place
from worker68.broker.source import Source


def own(client: redis.Redis, account: str, fence: int) -> Place:
    value = f"worker-a:{fence}"
    client.set(f"lease:{account}", value)
    return Place(account, f"lease:{account}", value, fence)


def push(client: redis.Redis, key: str, *messages: bytes) -> None:
    for message in messages:
        client.lpush(key, message)


def raws(source: Source, *places: Place, limit: int = 100) -> list[bytes]:
    return [popped.raw for popped in source.pop(places, limit).popped]


def pop_and_ack(source: Source, *places: Place, limit: int = 100) -> list[bytes]:
    popped = source.pop(places, limit).popped
    source.ack(popped)
    return [p.raw for p in popped]
