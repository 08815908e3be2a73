"""The tasks: one file for each, with all that is particular to it, and the register of them.

In: the modules of this folder that have a ``TASK``. Out: ``TASKS``, which intake, dispatch, the command line, the demo and the docs
read. A new task is a new file here, what the simulator answers, and its test. Never: SQL, Redis, a socket.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from worker68.jobs.task import Task


def _collect() -> dict[str, Task]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    tasks: list[Task] = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


TASKS: Final = _collect()
