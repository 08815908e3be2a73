"""Where the ``worker68`` command starts: ``health`` and ``worker`` at once, the others once the libraries they need are there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from worker68.cli.importing import importing


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
    """Be Celery's worker from here on: signals, exit code and restart on SIGHUP are Celery's own, not a copy of them.

    Nothing is looked at before: the application says in one line which setting is wrong, and half a second sooner. Of Celery's
    commands this one alone is imported: ``celery`` imports them all first, with a shell and Flower.
    """
    # As if it had been called so: with these words Celery restarts and detaches itself.
    sys.argv = [os.path.join(os.path.dirname(sys.executable), "celery"), "-A", "worker68", "worker", *options]
    with importing():
        from worker68 import celery
        from worker68.celery_worker.internals import run_worker_command

    sys.exit(run_worker_command(celery, options))
