"""Worker processes that are born in a moment: forked from a process that has imported everything and started nothing.

In: settings, a file for the output, a ``Sabotage``. Out: real ``celery -A worker68 worker`` processes, each with a process id of
its own, which SIGKILL ends like any other. A start takes a tenth of what importing Celery takes, so a test can afford dozens.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.parts.sabotage import Sabotage
from tests.parts.worker import PATIENCE_SECONDS, ROOT, WorkerLog, environment, wait_until

T = TypeVar("T")

#: Without the second that Celery waits for its neighbours before it takes anything.
WORKER: Final = ("celery", "-A", "worker68", "worker", "--without-mingle", "--without-gossip")
_PR_SET_PDEATHSIG: Final = 1


class Nursery:
    """The process that forks. Its children die with it, and it with the thread that started it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.parts.nursery", str(os.getpid())],
            env=environment({}),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def worker(self, settings: Mapping[str, object], log: Path) -> ForkedWorker:
        """Return a worker, not started yet."""
        return ForkedWorker(self, settings, log)

    def fork(self, settings: Mapping[str, object], log: Path, sabotage: Sabotage) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"environment": environment(settings), "log": str(log), "sabotage": asdict(sabotage)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class ForkedWorker(WorkerLog):
    """One worker, started as often as a test likes."""

    def __init__(self, nursery: Nursery, settings: Mapping[str, object], log: Path) -> None:
        super().__init__(log)
        self.settings = dict(settings)
        self._nursery = nursery
        self._pidfd: int | None = None
        self.pid = 0

    @property
    def running(self) -> bool:
        if self._pidfd is None:
            return False
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return not poller.poll(0)

    def start(self, sabotage: Sabotage | None = None) -> None:
        assert not self.running
        self._close()
        self.note_start()
        self.pid = self._nursery.fork(self.settings, self.log_file, sabotage or Sabotage())
        self._pidfd = os.pidfd_open(self.pid)

    def wait_ready(self) -> None:
        self.wait(lambda: " ready." in self.log_since_start)

    def wait(self, condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
        """Return the first true value of ``condition``; fail with the log where there is none, or the worker ends before."""

        def check() -> T:
            assert self.running, f"the worker has ended: {self.last_words}"
            return condition()

        return wait_until(check, lambda: self.last_words, seconds)

    def wait_for_end(self) -> None:
        wait_until(lambda: not self.running, lambda: self.last_words)

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        self.send(signal.SIGTERM)

    def stop(self) -> None:
        """End it as an operator would, with SIGTERM."""
        self.send(signal.SIGTERM)
        self.wait_for_end()

    def quit(self) -> None:
        """End it with SIGQUIT."""
        self.send(signal.SIGQUIT)
        self.wait_for_end()

    def send(self, signum: signal.Signals) -> None:
        if self.running and self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signum)

    def kill(self) -> None:
        """End it as a crash would; harmless when it has ended."""
        self.send(signal.SIGKILL)
        if self._pidfd is not None:
            self.wait_for_end()
        self._close()

    def _close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _serve() -> None:
    """Fork a worker for each line; answer with its process id. Everything is imported before the first."""
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql
    import sqlalchemy.dialects.sqlite  # noqa: F401

    _die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        print(child, flush=True)


def _become(order: dict[str, Any]) -> None:
    """Be the worker that was ordered, to the end of the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    _die_with_parent(os.getppid())
    output = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(Path(order["log"]).parent)
    Sabotage(**order["sabotage"]).commit()
    sys.argv = list(WORKER)
    from celery.__main__ import main

    sys.exit(main())


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(71)


if __name__ == "__main__":
    _serve()
