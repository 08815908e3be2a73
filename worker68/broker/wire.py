"""One dedicated connection to Redis: a command goes out, its reply comes in.

Never retries, pools, or decodes: who uses a wire must know on which connection a command ran, because client tracking and
subscriptions belong to the connection. A lost connection is opened again by the next ``call``; ``epoch`` tells that.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from redis.exceptions import NoScriptError, ResponseError

from worker68.broker.client import make_pool
from worker68.errors import RedisAway
from worker68.redis_calls import Script, forbids_key, redis_errors

# Longer than any of our commands takes on a healthy Redis; a dead one must be noticed before a lease (10 s) runs out.
_TIMEOUT_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Wire:
    """One connection, used by one thread. Every error that means "not now" is raised as ``RedisAway``."""

    def __init__(self, url: str, client_name: str) -> None:
        # RESP3 would silence the doorbell. There are no retries: one would hide a lost connection.
        pool = make_pool(
            url,
            protocol=2,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_keepalive=True,
        )
        self._connection: Any = pool.make_connection()
        self._client_name = client_name
        self.epoch = 0

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    def connect(self) -> None:
        """Open the connection unless it is open; then ``epoch`` grows and all state of the old connection is gone."""
        if self.connected:
            return
        try:
            with redis_errors():
                self._connection.connect()
                self._tell_name()
        except BaseException:
            self.close()
            raise
        self.epoch += 1

    def _tell_name(self) -> None:
        """Give the connection its name in ``CLIENT LIST``, where Redis allows that: many managed ones do not."""
        self._connection.send_command("CLIENT", "SETNAME", self._client_name)
        try:
            self._connection.read_response()
        except ResponseError as refused:
            log.debug("client_name_refused", reason=str(refused))

    def close(self) -> None:
        self._connection.disconnect()

    def fileno(self) -> int:
        """Return the socket's descriptor. Only while connected."""
        return int(self._connection._sock.fileno())

    def send(self, *command: str | bytes | int) -> None:
        """Write a command; ``read`` takes its reply."""
        self.connect()
        with redis_errors():
            self._connection.send_command(*command)

    def has_reply(self) -> bool:
        """Say without waiting whether ``read`` would find something. Raises ``RedisAway`` if the other side closed."""
        with redis_errors():
            return bool(self._connection.can_read(timeout=0))

    def read(self) -> Any:
        with redis_errors():
            return self._connection.read_response()

    def call(self, *command: str | bytes | int) -> Any:
        try:
            self.send(*command)
            return self.read()
        except RedisAway:
            # A late reply would be taken for that of the next command, and a failed-over address must be looked up again.
            self.close()
            raise

    def call_each(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Send commands in one trip; return their replies. A refusal stands in its place."""
        if not commands:
            return []
        try:
            self.connect()
            with redis_errors():
                self._connection.send_packed_command(self._connection.pack_commands(commands))
            return [self._read_or_refusal() for _ in commands]
        except RedisAway:
            self.close()
            raise

    def _read_or_refusal(self) -> Any:
        try:
            return self.read()
        except ResponseError as refusal:
            return refusal

    def run_each(self, script: Script, runs: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]]) -> list[Any]:
        """Run a script once for each (keys, arguments), in one trip, or two where Redis has forgotten it; return the replies.

        Each run is a step of its own, and a refusal stands in its place. Raises ``RedisForbids`` for a command that no run may use.
        """
        replies = self.call_each(_calls("EVALSHA", script.sha, runs))
        forgotten = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        again = self.call_each(_calls("EVAL", script.source, [runs[place] for place in forgotten]))
        for place, reply in zip(forgotten, again, strict=True):
            replies[place] = reply
        for reply in replies:
            if isinstance(reply, ResponseError) and not forbids_key(reply):
                script.raise_forbidden(reply)
        return replies

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Run a script, also on a Redis that has forgotten it."""
        try:
            try:
                return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return self.call("EVAL", script.source, len(keys), *keys, *arguments)
        except ResponseError as error:
            script.raise_forbidden(error)
            raise


def _calls(
    command: str, script: str | bytes, runs: Iterable[tuple[Sequence[str], Sequence[str | bytes | int]]]
) -> list[tuple[str | bytes | int, ...]]:
    return [(command, script, len(keys), *keys, *arguments) for keys, arguments in runs]


class WireSelector:
    """Says which wires have something to read. Its own descriptor can be waited for, and outlives every reconnect."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()  # epoll or kqueue
        # The epoch and descriptor under which each wire was given to the selector.
        self._watched: dict[Wire, tuple[int, int]] = {}

    def fileno(self) -> int:
        return self._selector.fileno()

    def watch(self, wire: Wire) -> None:
        """Watch the wire's present socket. A closed socket leaves epoll by itself, but not the selector."""
        for stale in [w for w, (epoch, _) in self._watched.items() if not w.connected or w.epoch != epoch]:
            self._selector.unregister(self._watched.pop(stale)[1])
        if wire not in self._watched:
            self._selector.register(wire.fileno(), selectors.EVENT_READ, wire)
            self._watched[wire] = (wire.epoch, wire.fileno())

    def ready(self) -> set[Wire]:
        """Return those that can be read now, without waiting."""
        return {key.data for key, _ in self._selector.select(0)}

    def close(self) -> None:
        self._selector.close()
