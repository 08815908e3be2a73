"""Through which files of ``worker68/`` one message goes, from the pop to its reply: ``python -m benchmarks.path``.

A worker sends messages one at a time, and notes each call of a function of ours: on its loop, its writer and its pool. It begins
with the pop that finds the message, and ends when Redis has the reply. A file counts if each message called something in it.

Not counted: what a service does in that time that serves no message (``ASIDE``), Celery's own thread, and what was computed once
and is kept. A file of names and types alone does not count either: a reader need not open it to follow a message.
"""

from __future__ import annotations

import contextvars
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from benchmarks.stage import open_stage, to
from tests.parts.worker import wait_until

MESSAGES: Final = 12
#: The first ones fill what is kept.
PASSED: Final = 4
PATIENCE_SECONDS: Final = 60
#: The relay has something to do after a reply that is no longer of its message.
PAUSE_SECONDS: Final = 0.3

#: The services of the loop that serve no message, by the names under which they are served; and timers.
ASIDE: Final = {"leases", "pauses", "health", "late", "accounts", "unfinished"}
TIMERS: Final = ("LoopLag.", "Watchdog.")
PACKAGE: Final = f"{os.sep}worker68{os.sep}"


class Path68:
    """Notes the files that run while a message is on its way."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._of_service: contextvars.ContextVar[str] = contextvars.ContextVar("service", default="")
        self._names: dict[CodeType, str | None] = {}
        self._seen: set[str] = set()
        self._messages: list[list[str]] = []
        self._on_its_way = False

    def note(self, frame: FrameType, event: str, value: Any) -> None:
        """A profile function, of every thread."""
        name = self._name_of(frame.f_code)
        if name is None or threading.current_thread() is threading.main_thread():
            return
        what = frame.f_code.co_qualname
        if event == "call":
            if what == "LoopThread._run_service":
                self._of_service.set(frame.f_locals["name"])
            elif what == "Runtime._run":
                self._of_service.set("job")
            elif what == "Source.pop" and not self._on_its_way:
                self._seen = set()
            if self._of_service.get() not in ASIDE and not what.startswith(TIMERS):
                self._seen.add(name)
        elif event == "return" and what == "Source.pop" and value and value.popped:
            self._on_its_way = True
        elif event == "return" and what == "Publisher.publish" and value and self._on_its_way:
            self._on_its_way = False
            self._messages.append(sorted(self._seen))
            self._file.with_suffix(".new").write_text(json.dumps(self._messages))
            os.replace(self._file.with_suffix(".new"), self._file)

    def _name_of(self, code: CodeType) -> str | None:
        if code not in self._names:
            _, found, name = code.co_filename.rpartition(PACKAGE)
            ours = bool(found) and code.co_name != "<module>"
            self._names[code] = name if ours else None
        return self._names[code]


def run_worker(file: Path) -> None:
    from celery.__main__ import main as celery_main

    way = Path68(file)
    threading.setprofile(way.note)
    sys.argv = ["celery", "-A", "worker68", "worker"]
    celery_main()


def main() -> int:
    with open_stage("sqlite", 4, 0.02) as stage:
        file = stage.folder / "path.json"
        worker = stage.worker("worker", (sys.executable, "-m", "benchmarks.path", str(file)))
        worker.start()
        try:
            worker.wait_for_log("bridge_ready")
            worker.wait_ready()
            for number in range(MESSAGES):
                stage.push([to(stage.friends[number % 4], f"hello {number}", reply_to="path")])
                assert stage.redis.blpop(["worker68:replies:path"], PATIENCE_SECONDS), worker.log
                time.sleep(PAUSE_SECONDS)
            passed = wait_until(lambda: [] if not file.exists() else json.loads(file.read_text())[PASSED:])
        finally:
            worker.stop()
    common = sorted(set.intersection(*map(set, passed)))
    print(*common, sep="\n")
    print(
        f"{len(common)} files, by {len(passed)} messages; {len(set().union(*passed))} with what only some of them met"
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_worker(Path(sys.argv[1]))
    else:
        sys.exit(main())
