"""A real worker process for tests: ``celery -A worker68 worker`` with the settings of one test.

In: settings by their names in the contract, a file for its output. Out: a process that can be waited for, ended as an operator
would or as a crash would, and started again. It dies with the tests. Never: worker68 imported in place of being run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from worker68.child import bound_to_parent, end_process
from worker68.clock import Deadline

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
CELERY: Final = (sys.executable, "-m", "celery", "-A", "worker68", "worker")
#: The same as production starts it.
WORKER68: Final = (sys.executable, "-m", "worker68", "worker")

#: A start takes half a second on an idle machine, an end as long as the calls that are under way; both longer on a crowded one.
PATIENCE_SECONDS: Final = 90.0
PAUSE_SECONDS: Final = 0.02
LAST_WORDS: Final = 6000


def wait_until(condition: Callable[[], T], told: Callable[[], object] = str, seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first value of ``condition`` that is true; fail with ``told()`` where there is none in time."""
    deadline, pause = Deadline.after(seconds), threading.Event()
    while not (value := condition()):
        assert not deadline.passed, f"not so within {seconds:g} s: {told()}"
        pause.wait(PAUSE_SECONDS)
    return value


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a worker with these settings and no others of worker68's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WORKER68_")}
    return kept | {"PYTHONPATH": str(ROOT)} | {f"WORKER68_{name}": str(value) for name, value in settings.items()}


class WorkerLog:
    """What a worker has written, over all its starts."""

    def __init__(self, file: Path) -> None:
        self.log_file = file
        self._log_before = 0

    def note_start(self) -> None:
        self._log_before = len(self.log)

    @property
    def log(self) -> str:
        """All that this worker has written, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def log_since_start(self) -> str:
        return self.log[self._log_before :]

    @property
    def last_words(self) -> str:
        """The end of the log, for the message of a failed test."""
        return self.log_since_start[-LAST_WORDS:]


class WorkerProcess(WorkerLog):
    """One worker, started as often as a test likes. Start it from a thread that lives as long as it should."""

    def __init__(self, settings: Mapping[str, object], log: Path, command: Sequence[str] = CELERY) -> None:
        super().__init__(log)
        self.settings = dict(settings)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; it may take a while to be ready."""
        assert not self.running
        self.note_start()
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                bound_to_parent(self._command, signal.SIGKILL),
                env=environment(self.settings),
                cwd=self.log_file.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until Celery's consumer is up: from then on remote control answers too."""
        self.wait_for_log(" ready.")

    def wait_for_log(self, *words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for a line with all of these words since the last start."""
        self.wait(
            lambda: any(all(word in line for word in words) for line in self.log_since_start.splitlines()), seconds
        )

    def wait(self, condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
        """Return the first true value of ``condition``; fail with the log where there is none, or the worker ends before."""

        def check() -> T:
            assert self.running, f"the worker has ended: {self.last_words}"
            return condition()

        return wait_until(check, lambda: self.last_words, seconds)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_for_end(self) -> int:
        """Return the exit code."""
        assert self._process is not None
        wait_until(lambda: not self.running, lambda: self.last_words)
        return self._process.returncode

    def stop(self) -> int:
        """End it as an operator would, with SIGTERM; return the exit code."""
        self.ask_to_stop()
        return self.wait_for_end()

    def quit(self) -> int:
        """End it with SIGQUIT, Celery's cold shutdown; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        return self.wait_for_end()

    def kill(self) -> None:
        """End it as a crash would; harmless when it has ended."""
        if self._process is not None:
            end_process(self._process, signal.SIGKILL)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP), as a suspended machine would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
