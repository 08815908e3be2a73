"""Writes the docs that follow from the code: ``tasks.md`` and ``cli.md``.

In: the register of tasks, the commands. Out: the text of each page; run as a program, the pages themselves. A test compares.

    .venv/bin/python docs/generate.py [--check]

With ``--check`` it writes nothing, names the pages that are not up to date, and ends with 1 if there are any.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from worker68.cli.main import COMMANDS, main
from worker68.jobs.fields import Chat, Quote
from worker68.jobs.task import JobClass, Task
from worker68.tasks import TASKS

HERE: Final = Path(__file__).resolve().parent

_CLASSES: Final = {
    JobClass.MODERATION: "moderation",
    JobClass.SEND: "send",
    JobClass.BROADCAST: "broadcast",
    JobClass.SYNC: "read",
}
_STRUCTS: Final = {Chat: "a chat", Quote: "a quote"}


def tasks_page() -> str:
    """Return the page of the tasks: what each takes and gives back."""
    lines = [
        "# Tasks",
        "",
        "Written by `docs/generate.py` from `worker68/tasks/`: change it there.",
        "",
        "What every job takes besides, what a chat and a quote are, and how a reply looks: the README.",
    ]
    for task in sorted(TASKS.values(), key=lambda task: (task.job_class, task.name)):
        lines += ["", *_task(task)]
    return "\n".join([*lines, ""])


def _task(task: Task) -> Iterator[str]:
    yield f"## `{task.name}`"
    yield ""
    yield task.summary
    yield ""
    steps = task.steps_of(task.fields(**_converted(task)))
    yield f"- Class: {_CLASSES[task.job_class]}; counts against the limits {', '.join(_limits(task, steps))}."
    if task.experimental:
        yield "- Experimental: it rests on reports about the bridge alone. An account takes it where `EXPERIMENTAL_TASKS` names it."
    if task.exclusive:
        yield "- While it runs, nothing else of its account is begun."
    if any(step.read_back for step in steps):
        yield "- Before it is said to have failed, it is read back whether the change was made."
    if task.sync_name:
        yield f"- From the command line: `worker68 sync {task.sync_name}`."
    yield f"- `result` of the reply: {task.result}."
    fields = msgspec.structs.fields(task.fields)
    if not fields:
        yield "- No fields of its own."
        return
    yield ""
    yield "| field | what | default |"
    yield "|---|---|---|"
    hints = typing.get_type_hints(task.fields, include_extras=True)
    for field in fields:
        default = "required" if field.required else f"`{msgspec.json.encode(field.default).decode()}`"
        yield f"| `{field.name}` | {_words(hints[field.name])} | {default} |"
    yield ""
    yield f"Example of its `kwargs`: `{msgspec.json.encode(task.example).decode()}`"


def _converted(task: Task) -> dict[str, Any]:
    hints = typing.get_type_hints(task.fields, include_extras=True)
    return {name: msgspec.convert(value, hints[name]) for name, value in task.example.items()}


def _limits(task: Task, steps: tuple[Any, ...]) -> list[str]:
    chat = ["`chat`"] if task.chat_of(task.fields(**_converted(task))) is not None else []
    return ["`account`", *chat, *(f"`{name}`" for name in dict.fromkeys(step.limit for step in steps))]


def _words(hint: Any) -> str:
    """Say what a field holds."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _words(next(part for part in typing.get_args(hint) if part is not type(None)))
    bounds: dict[str, Any] = {}
    if typing.get_origin(hint) is typing.Annotated:
        hint, *metas = typing.get_args(hint)
        for meta in metas:
            bounds |= {name: getattr(meta, name) for name in ("ge", "le", "min_length", "max_length")}
        bounds = {name: value for name, value in bounds.items() if value is not None}
    if hint in _STRUCTS:
        return _STRUCTS[hint]
    if typing.get_origin(hint) is tuple:
        most = f", at most {bounds['max_length']}" if "max_length" in bounds else ""
        return f"a list, each {_words(typing.get_args(hint)[0])}{most}"
    if hint is bool:
        return "true or false"
    if hint is int:
        return "an id" if bounds.get("le") == 2**63 - 1 else f"an integer from {bounds['ge']} to {bounds['le']}"
    if hint is str:
        return f"a text of {bounds['min_length']} to {bounds['max_length']} characters"
    return "an object"


def cli_page() -> str:
    """Return the page of the commands: what ``--help`` says of each."""
    lines = [
        "# Commands",
        "",
        "Written by `docs/generate.py` from `worker68/cli/`: change it there. Every command ends with 0 (done), 1 (not done, or",
        "the answer is no) or 2 (wrong arguments or settings), and says what went wrong in one line on standard error.",
    ]
    top = click.Context(main, info_name="worker68", terminal_width=100, **main.context_settings)
    for name in COMMANDS:
        lines += _command(main, name, top)
    return "\n".join([*lines, ""])


def _command(group: click.Group, name: str, parent: click.Context) -> Iterator[str]:
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    yield from ("", f"## {context.command_path}", "", "```text", *command.get_help(context).splitlines(), "```")
    if isinstance(command, click.Group):
        for further in command.list_commands(context):
            yield from _command(command, further, context)


PAGES: Final = {"tasks.md": tasks_page, "cli.md": cli_page}


def find_old() -> list[str]:
    """Return the names of the pages that are not as the code gives them now."""
    return [name for name, page in PAGES.items() if (HERE / name).read_text() != page()]


def write() -> None:
    for name, page in PAGES.items():
        (HERE / name).write_text(page())


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        write()
    elif old := find_old():
        sys.exit(f"not up to date: {', '.join(old)}; run: .venv/bin/python docs/generate.py")
