"""What a worker says to Redis while it works: no more than there is a reason for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.exceptions import RedisError

from tests.acceptance.conftest import Stage, StageMaker, end_of, name
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until

#: Each of them waits for the one before: they go to one chat.
JOBS = 40
#: Longer than the test lasts: the look that the worker takes from time to time without a reason.
POLL_SECONDS = 600.0
#: The ring of the last push may be read after the pop that took its message.
MOST_LOOKS = 2


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
        catch_up(stage, commands)
        monitor.connection.disconnect()
        listener.join()


def catch_up(stage: Stage, commands: list[str]) -> int:
    """Wait until all that Redis has got by now is in ``commands``; return how many they are."""
    mark = name()
    stage.redis.echo(mark)
    wait_until(lambda: any(mark in command for command in commands))
    return next(number for number, command in enumerate(commands) if mark in command)


def test_the_end_of_a_job_is_no_reason_to_look_for_new_ones(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage()
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(constants={"broker.inbox.POLL_SECONDS": POLL_SECONDS}))
    end_of(stage, worker, stage.send(name()))
    with overheard(stage) as commands:
        results = [stage.send(name()) for _ in range(JOBS)]
        wait_until(lambda: stage.row(results[-1].id), lambda: worker.last_words)
        taken_in = catch_up(stage, commands)
        for result in results:
            end_of(stage, worker, result)

    looks = [command for command in commands[taken_in:] if command.startswith("EVALSHA") and ":unacked" in command]
    assert len(looks) <= MOST_LOOKS
    worker.kill()
