"""What the producers of an account may ask for (contract, section 3): who writes into a queue is not the owner of the bridge.

In: the account's settings and what a job asks for. Out: None, or in words why it is not permitted. Never: a word of what *is*
permitted, since the answer goes to the producer; I/O.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Final

import msgspec

from worker68.jobs.task import Task
from worker68.jobs.windows_paths import WindowsPath, read_file_path, read_folder_path

#: Every task of the contract, section 1, also those that this version does not know yet: a newer worker may share the settings.
CONTRACT_TASKS: Final = frozenset(
    f"worker68.{name}"
    for name in (
        "send_message",
        "send_file",
        "set_group_notice",
        "mute_group",
        "mute_member",
        "sync_profile",
        "sync_contacts",
        "sync_contact",
        "sync_friend_requests",
        "sync_groups",
        "sync_group",
        "sync_group_members",
        "sync_group_requests",
        "sync_online_status",
        "get_api_url",
        "request",
        "restart_client",
        "broadcast",
        "rename_group",
        "clear_group_notice",
        "remove_members",
        "invite_members",
        "answer_group_request",
        "answer_friend_request",
    )
)

#: Plain segments only: behind any base, such a path cannot name another host, leave its folder, or begin a query.
_API_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)+/?")


@dataclass(frozen=True)
class Permissions:
    """What one account takes: ``tasks`` None is all but the experimental ones, ``experimental`` are those of these that it takes.

    ``file_roots`` () is nowhere. Raise ``ValueError`` for a doubtful entry.
    """

    tasks: frozenset[str] | None = None
    experimental: frozenset[str] = frozenset()
    file_roots: tuple[str, ...] = ()
    paths: frozenset[str] = frozenset()
    _roots: tuple[WindowsPath, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for task in sorted({*(self.tasks or ()), *self.experimental}):
            check_task(task)
        for path in sorted(self.paths):
            check_api_path(path)
        object.__setattr__(self, "_roots", tuple(map(_read_root, self.file_roots)))

    def why_not(self, task: Task, fields: msgspec.Struct) -> str | None:
        """Say why a job may not be run, by its task and by what it asks for; None where it may."""
        return self.why_not_task(task) or task.permission(self, fields)

    def why_not_task(self, task: Task) -> str | None:
        if self.tasks is not None and task.name not in self.tasks:
            return f"ALLOWED_TASKS of the account do not hold {task.name}"
        if task.experimental and task.name not in self.experimental:
            return f"{task.name} is experimental, and EXPERIMENTAL_TASKS of the account do not hold it"
        return None

    def why_not_file(self, path: str) -> str | None:
        """Say why a file of the bridge's machine may not be sent. The words do not reveal whether it exists."""
        if not self._roots:
            return "path: ALLOWED_FILE_ROOTS of the account is empty, so no file may be sent"
        try:
            file = read_file_path(path)
        except ValueError as problem:
            return f"path: {problem}"
        if any(file.lies_below(root) for root in self._roots):
            return None
        return "path: lies below none of the account's ALLOWED_FILE_ROOTS"

    def why_not_path(self, path: str) -> str | None:
        """Say why a path of the service's API may not be called: it must stand in the settings letter by letter."""
        if path in self.paths:
            return None
        return "path: ALLOWED_PATHS of the account do not hold it"


def check_task(task: str) -> str:
    """Return a task's full name, or raise ``ValueError`` with the name that was probably meant."""
    if task in CONTRACT_TASKS:
        return task
    bare = {known.removeprefix("worker68."): known for known in sorted(CONTRACT_TASKS)}
    near = difflib.get_close_matches(task.removeprefix("worker68."), bare, n=1)
    if near:
        raise ValueError(f"no such task; did you mean {bare[near[0]]!r}?")
    raise ValueError("expected full names of tasks like 'worker68.send_message'")


def check_file_root(root: str) -> str:
    """Return a folder of the bridge's machine, or raise ``ValueError``."""
    _read_root(root)
    return root


def check_api_path(path: str) -> str:
    """Return a path of the service's API, or raise ``ValueError`` for what could be more than a path."""
    if not _API_PATH.fullmatch(path):
        raise ValueError("expected a path of plain names like /group/groupDetail: no host, no query, no .., no escapes")
    return path


def _read_root(root: str) -> WindowsPath:
    try:
        return read_folder_path(root)
    except ValueError as problem:
        raise ValueError(f"expected an absolute folder of the bridge's machine like C:/outbox: {problem}") from None
