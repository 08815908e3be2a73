"""``worker68 worker`` is Celery's worker: its options, its signals; and it imports no more than it needs to be ready."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stage, StageMaker, name
from tests.parts.events import hear_events
from tests.parts.worker import WORKER68, WorkerProcess, environment

#: What takes long to import, and what a worker (of a SQLite database) needs none of.
NEEDLESS = {"alembic", "celery.bin.celery", "click_repl", "flower", "prompt_toolkit", "psycopg", "tornado"}

#: The command; what it has imported goes to a file before Celery says that it is ready.
TELLING = """
import pathlib, sys
from celery.signals import worker_ready

@worker_ready.connect
def tell(**_):
    pathlib.Path("imported").write_text("\\n".join(sys.modules))

sys.argv = ["worker68", "worker"]
from worker68.cli.start import main
main()
"""


def start(make_stage: StageMaker, command: Sequence[str]) -> Stage:
    stage = make_stage()
    stage.worker = WorkerProcess(stage.worker.settings, stage.worker.log_file, command)
    stage.worker.start()
    return stage


def test_it_takes_celerys_options(make_stage: StageMaker) -> None:
    stage = start(make_stage, (*WORKER68, "-n", "sender@%h", "--concurrency=3"))

    stage.worker.wait_for_log("sender@", " ready.")
    stage.worker.wait_for_log("concurrency: 3 ")
    assert re.search(r"\.> worker68\.main +exchange=worker68\.main\(direct\) key=worker68\.main", stage.worker.log)
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.worker.stop() == 0


def test_a_wrong_option_is_said_in_the_words_of_the_command(tmp_path: Path) -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:1/0", "BRIDGE_URL": "ws://127.0.0.1:1"}
    command = (*WORKER68, "--concurency=3")

    ended = subprocess.run(
        command, env=environment(settings), cwd=tmp_path, capture_output=True, text=True, timeout=180
    )

    assert ended.returncode == 2
    assert "worker68 worker --help" in ended.stderr
    assert "--concurency" in ended.stderr


def test_it_starts_anew_on_sighup(make_stage: StageMaker) -> None:
    stage = start(make_stage, (*WORKER68, "-n", "sender@%h"))
    stage.worker.wait_ready()

    os.kill(stage.worker.pid, signal.SIGHUP)

    stage.wait(lambda: len(re.findall(r"sender@.* ready\.", stage.worker.log)) == 2)
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.worker.stop() == 0


def test_it_detaches_itself_with_its_options(make_stage: StageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Celery's own variable: it does all but fork, so the process can be ended with the tests.
    monkeypatch.setenv("C_FAKEFORK", "1")

    stage = start(make_stage, (*WORKER68, "--detach", "-n", "sender@%h", "--pidfile=pid"))

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.worker.log_file.with_name("pid").read_text().strip() == str(stage.worker.pid)
    assert stage.worker.stop() == 0


def test_its_option_switches_the_events_of_tasks_on(make_stage: StageMaker) -> None:
    stage = start(make_stage, (*WORKER68, "-E"))
    stage.worker.wait_ready()

    with hear_events(stage.celery, stage.redis) as events:
        result = stage.send(name())
        events.hear_until(lambda: events.types_of(result.id)[-1:] == ["task-succeeded"])


def test_it_imports_nothing_needless(make_stage: StageMaker) -> None:
    stage = start(make_stage, (sys.executable, "-c", TELLING))

    stage.worker.wait_ready()
    imported = set(stage.worker.log_file.with_name("imported").read_text().splitlines())
    assert "worker68.runtime" in imported
    assert not NEEDLESS & imported
