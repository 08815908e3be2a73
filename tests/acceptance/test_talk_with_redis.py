"""What a worker says to Redis while it works: no more than there is a reason for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import RedisError

from tests.acceptance.conftest import Stage, name
from worker68.clock import monotonic

#: Each of them waits for the one before: they go to one chat.
JOBS = 40


@contextmanager
def overheard(stage: Stage) -> Iterator[list[str]]:
    """Note the commands that Redis gets during the block, also those of scripts."""
    commands: list[str] = []
    with redis.Redis.from_url(stage.redis_server.url, decode_responses=True) as client, client.monitor() as monitor:

        def listen() -> None:
            try:
                commands.extend(command["command"] for command in monitor.listen())
            except (RedisError, OSError, ValueError, AttributeError):
                return  # the connection was closed below, in the middle of a read

        listener = threading.Thread(target=listen)
        listener.start()
        yield commands
        client.echo("the end")
        stage.wait(lambda: any("the end" in command for command in commands))
        monitor.connection.disconnect()
        listener.join()


def test_the_end_of_a_job_is_no_reason_to_look_for_new_ones(stage: Stage) -> None:
    stage.end_of(stage.send(name()))
    with overheard(stage) as commands:
        results = [stage.send(name()) for _ in range(JOBS)]
        stage.wait(lambda: stage.row(results[-1].id))
        taken_in, began = len(commands), monotonic()
        for result in results:
            stage.end_of(result)
        seconds = monotonic() - began

    looks = [command for command in commands[taken_in:] if command.startswith("EVALSHA") and ":unacked" in command]
    assert len(looks) <= seconds + 5  # one each second, and what was still on its way
