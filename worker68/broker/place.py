"""Where jobs come in: the names of the keys in Redis, and the places that a worker takes from.

In: the name of an account and the lease by which this worker owns it. Out: a ``Place``. Never talks to Redis.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

FRONT_DOOR = "worker68"
#: The name of the front door's place: no account can be called so.
FRONT_NAME = ""

# Celery's default `priority_steps`, first to last, and its separator; the second one is what older producers set
# so that the keys can be typed (CONTRACT 1).
_STEPS = (0, 3, 6, 9)
SEPARATORS = ("\x06\x16", ":")


def queue_of(account: str) -> str:
    """Return the queue into which producers put the jobs of one account."""
    return f"{FRONT_DOOR}.{account}"


def lists_of(queue: str) -> tuple[str, ...]:
    """Return the Redis lists that make up a queue, in the order in which they are emptied."""
    return tuple(
        dict.fromkeys(
            queue if step == 0 else f"{queue}{separator}{step}" for step in _STEPS for separator in SEPARATORS
        )
    )


def show_key(key: str) -> str:
    """Return the name of a key as a person can read and type it."""
    return key.replace("\x06\x16", "\\x06\\x16")


def place_of(key: bytes) -> str:
    """Return the name of the place to which a list belongs."""
    queue = key.decode(errors="replace")
    for separator in SEPARATORS:
        queue = queue.partition(separator)[0]
    return queue.removeprefix(FRONT_DOOR).removeprefix(".")


@dataclass(frozen=True)
class Place:
    """A queue that this worker may take from as long as ``lease_key`` holds ``lease_value``: an account's, or ``FRONT_NAME``'s.

    ``fence`` must grow with each lease of the same place: messages recorded under a smaller one are handed out first.
    ``room`` is how many messages may be taken at most; with 0 nothing is taken but moderation.
    """

    name: str
    lease_key: str
    lease_value: str
    fence: int
    room: int = sys.maxsize

    @property
    def is_front(self) -> bool:
        """Whether it is the queue for every account."""
        return self.name == FRONT_NAME

    @property
    def queue(self) -> str:
        return FRONT_DOOR if self.is_front else queue_of(self.name)

    @property
    def unacked_key(self) -> str:
        """The hash of what was popped and is not acknowledged."""
        return f"{FRONT_DOOR}:unacked" if self.is_front else f"{FRONT_DOOR}:unacked:{self.name}"


@dataclass(frozen=True, slots=True)
class Popped:
    """A message as a producer pushed it: any bytes."""

    place: Place
    field: bytes
    list_key: bytes
    raw: bytes
