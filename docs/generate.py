"""Writes the docs that follow from the code: ``tasks.md``, ``settings.md`` and ``cli.md``.

In: the register of tasks, the settings, the commands. Out: the text of each page; run as a program, the pages themselves.
A test compares.

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
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from worker68.cli.main import COMMANDS, main
from worker68.durations import parse_seconds
from worker68.jobs.fields import Chat, Quote
from worker68.jobs.task import JobClass, Task
from worker68.limits.rates import DEFAULT_LIMITS, LIMIT_NAMES
from worker68.settings import PREFIX, PerAccount, Settings
from worker68.tasks import TASKS

HERE: Final = Path(__file__).resolve().parent

_CLASSES: Final = {
    JobClass.MODERATION: "moderation",
    JobClass.SEND: "send",
    JobClass.BROADCAST: "broadcast",
    JobClass.SYNC: "read",
}
_DAY: Final = 86400
_STRUCTS: Final = {Chat: "a chat", Quote: "a quote"}


def tasks_page() -> str:
    """Return the page of the tasks: what each takes and gives back."""
    lines = [
        "# Tasks",
        "",
        "Written by `docs/generate.py` from `worker68/tasks/`: change it there.",
        "",
        "Fields that every job takes, chats, quotes, replies, and what each error means: [producers.md](producers.md).",
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
        yield (
            "- Experimental: it rests on reports about the bridge, not on its documentation. An account must name it in "
            "`EXPERIMENTAL_TASKS`."
        )
    if task.exclusive:
        yield "- While it runs, no other job of its account starts."
    if any(step.read_back for step in steps):
        yield "- Before it fails, the bridge is asked whether the change was made."
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


#: What a default means that does not say so itself.
_DEFAULTS: Final = {
    "limits": ", ".join(f"`{name}` {getattr(DEFAULT_LIMITS, name)}" for name in LIMIT_NAMES),
    "max_age": "off",
    "allowed_tasks": "all",
    "allowed_paths": "the documented paths",
    "keep_text": "for ever",
    "metrics_port": "off",
    "health_file": "off",
    "log_format": "`json`; at a terminal `text`",
}

_SETTINGS_HEAD: Final = f"""\
# Settings

Written by `docs/generate.py` from `worker68/settings.py`: change it there.

A setting comes from the environment, with the prefix `{PREFIX}`, or from the TOML file that `{PREFIX}CONFIG` names: there in
lower case, without the prefix. The environment wins. An empty variable counts as not set. Lists and tables in the environment
are JSON. Lengths of time are seconds, or `10s`, `5m`, `2h`, `7d`. A wrong value, or a name that is no setting, ends the process
with one line and exit code 2.

"Per account": the setting may also stand in an account's table, and is then for that account alone.

| name | default | per account | effect |
|---|---|---|---|"""


def settings_page() -> str:
    """Return the page of the settings: name, default, whether an account's table may have it, and its description."""
    lines = [_SETTINGS_HEAD]
    for name, field in sorted(Settings.model_fields.items(), key=lambda item: item[0] in PerAccount.model_fields):
        assert field.description, f"{name}: a setting needs a description"
        per_account = "yes" if name in PerAccount.model_fields else ""
        words = field.description.replace("|", "\\|")
        lines.append(f"| `{name.upper()}` | {_default(name, field)} | {per_account} | {words} |")
    return "\n".join([*lines, ""])


def _default(name: str, field: FieldInfo) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    default = field.get_default(call_default_factory=True)
    if default is None or default in ([], {}):
        return "none"
    if any(isinstance(part, BeforeValidator) and part.func is parse_seconds for part in field.metadata):
        return f"{default:g} s" if default < _DAY else f"{default / _DAY:g} days"
    if isinstance(default, bool | int):
        return str(default).lower()
    return f"`{default}`"


_CLI_HEAD: Final = """\
# Commands

Written by `docs/generate.py` from `worker68/cli/`: change it there.

Run a command as `.venv/bin/worker68 COMMAND`, or as `python3 dev.py run COMMAND`.

- Exit codes: 0: done. 1: not done, or the answer is no. 2: wrong arguments or settings. 130: Ctrl-C. An error is one line on
  standard error.
- Tables fit the terminal, from 80 columns on: ids are short there, and text that has no room stands in lines below its row. Into a
  pipe each row is one line with whole ids. `--json` is for programs.
- Where a command takes the `ID` of a job, that is its `job_id`, the beginning of it (6 characters at least; to cancel, of a UUID
  only), its number as `jobs list` shows it (`@4711`), or a Celery id. An id that fits several jobs is refused, and the jobs are
  named.
- Lists of ended jobs look back through the newest 500 000 jobs.
- The commands from `send` to `restart-client` put one job in and print its Celery id. With `--wait` they wait for its end and print
  that. The job goes on when `--timeout` is over.
"""


def cli_page() -> str:
    """Return the page of the commands: what ``--help`` says of each."""
    lines = [_CLI_HEAD.rstrip()]
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


PAGES: Final = {"tasks.md": tasks_page, "settings.md": settings_page, "cli.md": cli_page}


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
