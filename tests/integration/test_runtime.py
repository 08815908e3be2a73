"""The last resort of a stop: it ends the process whatever hangs, also its log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.parts.worker import environment

#: A process whose stop is asked for and never comes to an end by itself. What hangs is given as the argument.
STOPS_FOR_EVER: Final = """
import ctypes, faulthandler, os, sys, threading
from worker68 import runtime, watchdog
from worker68.runtime import Runtime
from worker68.observe.logs import configure_logs
from worker68.settings import load_settings

runtime.CUT_AFTER_SECONDS, watchdog.END_AFTER_SECONDS, watchdog.LAST_WORDS_SECONDS = 0.1, 0.2, 0.1
watchdog.ASK_SECONDS = 0.05
settings = load_settings()
configure_logs(settings)
built = Runtime(settings)
built.start()
if sys.argv[1] == "bridge":
    built._bridge.stop = threading.Event().wait
elif sys.argv[1] == "log":
    os.set_blocking(2, False)
    try:
        while os.write(2, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(2, True)
armed, arm = threading.Event(), faulthandler.dump_traceback_later
def arm_and_tell(*args, **options):
    arm(*args, **options)
    armed.set()
faulthandler.dump_traceback_later = arm_and_tell
built.ask_to_stop()
armed.wait()
if sys.argv[1] == "interpreter":
    ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock
threading.Event().wait()
"""


@pytest.mark.parametrize("hangs", ["nothing", "log", "bridge", "interpreter"])
def test_a_stop_that_is_overdue_ends_the_process_whatever_hangs(tmp_path: Path, hangs: str) -> None:
    settings = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "BRIDGE_URL": "ws://127.0.0.1:1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'worker68.db'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_FOR_EVER, hangs], env=environment(settings), stderr=subprocess.PIPE
    )
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.communicate()
