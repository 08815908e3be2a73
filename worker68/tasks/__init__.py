"""The tasks: one file for each, with all that is particular to it, and the register of them.

In: the modules of this folder that have a ``TASK``. Out: ``TASKS``, which intake, dispatch, the command line, the demo and the docs
read. A new task is a new file here, what the simulator answers, and its test. Never: SQL, Redis, a socket.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import msgspec

from worker68.jobs.task import Step, Task


def _collect() -> dict[str, Task]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    tasks: list[Task] = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


TASKS: Final = _collect()


def find_step(task: str, fields: str, step: int) -> Step | None:
    """Return a step of a job by what its row says (``fields`` is JSON); None where the task is not known here.

    Raises ``ValueError`` or ``IndexError`` where the row is of another version, or damaged.
    """
    kind = TASKS.get(task)
    return kind.steps_of(msgspec.json.decode(fields, type=kind.fields))[step] if kind is not None else None


def find_nearest_task(name: str) -> str | None:
    """Return the known task whose name is nearest to one that is not known; None where none is near."""
    by_own_name = {task.partition(".")[2]: task for task in TASKS}
    near = difflib.get_close_matches(name.lower().removeprefix("worker68."), by_own_name, n=1)
    return by_own_name[near[0]] if near else None
