"""What remote control says to all workers, heard on Redis as a worker hears it.

In: a client. Out: the commands, decoded. Never: an answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.parts.worker import PATIENCE_SECONDS


@contextmanager
def hear_broadcast(client: redis.Redis) -> Iterator[Callable[[], dict[str, Any]]]:
    """Hear what is said to all workers in this block; yield what waits for the next command and returns it."""
    with client.pubsub() as heard:  # type: ignore[no-untyped-call]

        def next_command() -> dict[str, Any]:
            message: Any = heard.get_message(timeout=PATIENCE_SECONDS)
            assert message is not None, "nothing was said"
            body: dict[str, Any] = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
            return body

        heard.psubscribe("*pidbox")
        assert heard.get_message(timeout=PATIENCE_SECONDS), "no subscription"
        yield next_command
