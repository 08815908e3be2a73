"""The stage of the demo: real parts, started in order and ended in the reverse one.

In: nothing that the machine must have but a Redis program. Out: a Redis, a database, a simulated bridge and a real worker process
between them. Never: a part, a file or a process that outlives the ``with`` block.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import worker68
from worker68.child import bound_to_parent, end_process
from worker68.clock import Deadline
from worker68.embedded import EmbeddedRedis
from worker68.errors import Worker68Error
from worker68.settings import PREFIX
from worker68.simulator.population import PLAIN_GROUP, build_world
from worker68.simulator.server import Simulator
from worker68.store.migration import upgrade
from worker68.tasks import TASKS

#: Some dozens of jobs at the default of 60 a minute would take a minute.
LIMITS: Final = {
    "account": "1200/m+10",
    "chat": "240/m+5",
    "send": "900/m+10",
    "moderate": "600/m",
    "read": "600/m",
}

#: The folder of the bridge's machine from which files may be sent.
FILE_ROOT: Final = "C:/outbox"

#: A list of the simulated service has several pages, small as it is.
PAGE_SIZE: Final = 10

#: Simulated verdicts take 0.2 s; by default a worker waits 30 s for one.
VERDICT_TIMEOUT_SECONDS: Final = 3

#: A worker starts in two seconds; on a crowded machine in more.
START_SECONDS: Final = 30.0
#: Between two looks whether the worker has come up.
PAUSE_SECONDS: Final = 0.05
#: What is under way ends within the verdict timeout; on a crowded machine the worker's own end takes a while.
STOP_SECONDS: Final = 10.0

#: A bridge's own 3 s would only make the start longer: a worker sends nothing before the first heartbeat.
HEARTBEAT_SECONDS: Final = 0.5

#: What Celery would take settings from.
_CELERYS_OWN: Final = ("BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE")


class WorkerFailed(Worker68Error):
    """The worker process ended or did not get ready. The message ends with what it said last."""


def forget_settings() -> None:
    """Remove from this process's environment, and so from its children's, what worker68 and Celery would read there."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "CELERY_")) or name in _CELERYS_OWN:
            del os.environ[name]


class Stage:
    """All parts of one demo. To be entered on the main thread.

    ``announce`` gets a line about each part; ``check`` is called where the start may be given up.
    """

    def __init__(self, announce: Callable[[str], None], check: Callable[[], None]) -> None:
        self._announce = announce
        self._check = check
        self.redis = EmbeddedRedis()
        world = build_world(page_size=PAGE_SIZE)
        world.groups[PLAIN_GROUP].muted = True
        self.bridge = Simulator(world=world, heartbeat_seconds=HEARTBEAT_SECONDS)
        self.worker_exit_code: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._parts = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End all parts, the worker first."""
        self._parts.close()

    def check_worker(self) -> None:
        """Raise ``WorkerFailed`` if the worker process has ended."""
        code = self._worker.poll()
        if code is not None:
            raise WorkerFailed(f"the worker ended with code {code}; it said: {self._last_words()}")

    def _start(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worker68-demo-")))
        stack.enter_context(self.redis)
        self._report(f"Redis        {self.redis.url}, a process of its own")
        database_url = f"sqlite:///{folder / 'worker68.db'}"
        version = upgrade(database_url)
        self._report(f"database     SQLite, brought to version {version}")
        stack.enter_context(self.bridge)
        self._report(f"bridge       {self.bridge.url}, a SIMULATOR: no message reaches anybody")
        self._log = folder / "worker.log"
        self._worker = self._start_worker(database_url)
        stack.callback(self._end_worker)
        self._report(f"worker       celery -A worker68 worker, process {self._worker.pid}")

    def _report(self, line: str) -> None:
        self._announce(line)
        self._check()

    def _start_worker(self, database_url: str) -> subprocess.Popen[bytes]:
        """Start the worker so that it dies with this process, however that ends."""
        package = Path(worker68.__file__).resolve().parent
        paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": database_url,
            "BRIDGE_URL": self.bridge.url,
            "LIMITS": json.dumps(LIMITS),
            "VERDICT_TIMEOUT": str(VERDICT_TIMEOUT_SECONDS),
            "ALLOWED_FILE_ROOTS": json.dumps([FILE_ROOT]),
            "EXPERIMENTAL_TASKS": json.dumps([task.name for task in TASKS.values() if task.experimental]),
        }
        with self._log.open("wb") as output:
            return subprocess.Popen(
                bound_to_parent([sys.executable, "-m", "celery", "-A", "worker68", "worker"], signal.SIGKILL),
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(paths)}
                | {PREFIX + name: value for name, value in settings.items()},
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, hears: Callable[[], bool]) -> None:
        """Wait until the worker is connected to the bridge and ``hears`` remote control. Raises ``WorkerFailed``."""
        deadline = Deadline.after(START_SECONDS)
        while not (self.bridge.connections and hears()):
            self._check()
            self.check_worker()
            time.sleep(PAUSE_SECONDS)
            if deadline.passed:
                raise WorkerFailed(
                    f"the worker was not ready within {START_SECONDS:g} s; it said: {self._last_words()}"
                )

    def _end_worker(self) -> None:
        end_process(self._worker, signal.SIGTERM, STOP_SECONDS)
        self.worker_exit_code = self._worker.returncode

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "nothing"
