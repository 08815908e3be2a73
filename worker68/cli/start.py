"""Where the ``worker68`` command starts: ``health`` and ``worker`` at once, the others once the libraries they need are there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main() -> None:
    words = sys.argv[1:]
    if words in (["health"], ["health", "--json"]):
        from worker68.cli.health import main as look

        sys.exit(look(as_json="--json" in words))
    if words[:1] == ["worker"] and not {"-h", "--help"} & set(words):
        become_celery(words[1:])
    from worker68.cli.main import main as everything

    everything()


def become_celery(options: Sequence[str]) -> NoReturn:
    """Turn this process into Celery's worker: signals, exit code and restart on SIGHUP are Celery's own, not a copy of them.

    Nothing is looked at before: the application says in one line which setting is wrong, and half a second sooner.
    """
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker68", "worker", *options])
