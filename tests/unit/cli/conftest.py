"""The command line within the tests' own process: nothing here reaches Redis, a database or a bridge."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from worker68.cli.main import main


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


def imported_by(*words: str) -> set[str]:
    """Run ``worker68`` in a process of its own, which must end well; return the modules that it has imported."""
    script = f"import sys; sys.argv = {['worker68', *words]}\nfrom worker68.cli.start import main\ntry: main()\n"
    script += "except SystemExit as end: print(end.code, *sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, *modules = run.stdout.splitlines()[-1].split()
    assert code == "0"
    return set(modules)
