"""The command line within the tests' own process: nothing here reaches Redis, a database or a bridge."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pytest
from click.testing import CliRunner, Result

from worker68.cli import asking, short_cuts, start
from worker68.cli.main import main

#: What was asked for: a task's short name, its own fields, and the seconds that a --wait would take.
Asked = list[tuple[str, dict[str, Any], float]]


class Run(Protocol):
    def __call__(self, *words: str, **settings: str) -> Result: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run ``worker68`` with words and settings, and with no settings from outside."""
    for name in [name for name in os.environ if name.startswith("WORKER68_")]:
        monkeypatch.delenv(name)
    handlers = logging.getLogger().handlers[:]

    def invoke(*words: str, **settings: str) -> Result:
        env = {f"WORKER68_{name}": value for name, value in settings.items()}
        return CliRunner(env=env).invoke(main, words)

    yield invoke
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What commands ask for; checked as before every job, and not put in."""
    jobs: Asked = []

    def note(task: str, own: dict[str, Any], *, timeout: float, **options: Any) -> int:
        asking._check(task, own, {"account": options["account"]})
        jobs.append((task.removeprefix("worker68."), own, timeout))
        return 0

    for module in ("send", "sync"):
        monkeypatch.setattr(f"worker68.cli.{module}.ask_for", note)
    return jobs


class Became(Exception):
    """This process is Celery's worker now: nothing after that runs."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The options with which this process became Celery's worker."""
    calls: list[tuple[str, ...]] = []

    def become(options: Sequence[str]) -> None:
        calls.append(tuple(options))
        raise Became

    for module in (start, short_cuts):
        monkeypatch.setattr(module, "become_celery", become)
    return calls


def check_refused(done: Result, told: str) -> None:
    """The arguments were refused: with status 2, and in one line that says why and names the help."""
    assert done.exit_code == 2
    assert told in done.stderr
    assert "--help" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def imported_by(*words: str) -> set[str]:
    """Run ``worker68`` in a process of its own, which must end well; return the modules that it has imported."""
    script = f"import sys; sys.argv = {['worker68', *words]}\nfrom worker68.cli.start import main\ntry: main()\n"
    script += "except SystemExit as end: print(end.code, *sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, *modules = run.stdout.splitlines()[-1].split()
    assert code == "0"
    return set(modules)
