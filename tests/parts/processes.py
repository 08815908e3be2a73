"""Processes that are looked at from outside: whether one is there, and a Python that starts others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.parts.worker import ROOT, wait_until


def is_running(pid: int) -> bool:
    """Whether the process is there and has not ended. Linux only."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: not is_running(pid), lambda: f"process {pid} is still there")


def start_parent(program: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a Python that runs ``program``, which starts a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
