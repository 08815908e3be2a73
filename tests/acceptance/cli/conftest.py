"""The ``worker68`` command as a process of its own, with the settings of a stage or none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.acceptance.conftest import Stage
from tests.parts.worker import PATIENCE_SECONDS, environment

COMMAND = (sys.executable, "-m", "worker68")

#: Nobody listens at port 1.
NOWHERE: dict[str, Any] = {
    "REDIS_URL": "redis://:secret@127.0.0.1:1/0",
    "DATABASE_URL": "postgresql+psycopg://somebody:secret@127.0.0.1:1/nothing",
    "BRIDGE_URL": "ws://127.0.0.1:1",
}

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Run the command with these settings to its end."""

    def run(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            env=environment(settings),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    return run


@pytest.fixture
def ask(command: Run, stage: Stage) -> Run:
    """Run the command with the settings of the stage's worker."""

    def run(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        return command(*words, **(stage.worker.settings | settings))

    return run
