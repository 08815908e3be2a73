"""The ``worker68`` command: which commands there are, and what a failure looks like.

In: the words of a command line. Out: an exit code (0 done, 1 not done or the answer is no, 2 wrong arguments or a wrong setting,
130 after Ctrl-C) and, for a failure, one line on standard error. Never: a traceback for anything but a fault of ours.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import sys
from typing import Any, Final, NoReturn

import click
import structlog

from worker68.cli.importing import importing
from worker68.errors import DatabaseAway, SettingsError, Worker68Error

#: Where each command is, and what the list of them says. A module is imported when its command is asked for: most of them
#: need a quarter of a second for it.
COMMANDS: Final = {
    "demo": ("worker68.cli.demo.command:demo", "Show worker68 at work, everything embedded."),
    "worker": ("worker68.cli.short_cuts:worker", "Take in jobs and run them."),
    "simulator": ("worker68.cli.simulator:simulator", "Simulate a 68 bridge to develop against."),
    "probe": ("worker68.cli.probe.command:probe", "Ask a real bridge what its protocol leaves open."),
    "db": ("worker68.cli.database:db", "Create or upgrade the tables."),
    "send": ("worker68.cli.send:send", "Send a text or a file."),
    "mute": ("worker68.cli.send:mute", "Mute a member or a whole group, or lift it."),
    "notice": ("worker68.cli.send:notice", "Set a group's notice."),
    "sync": ("worker68.cli.sync:sync", "Read what the bridge knows."),
    "api-url": ("worker68.cli.sync:api_url", "Ask for the address of the service's API."),
    "request": ("worker68.cli.sync:request", "Make a call of the service's API."),
    "restart-client": ("worker68.cli.send:restart_client", "Restart an account's 68 client."),
    "jobs": ("worker68.cli.jobs:jobs", "Look at jobs, and cancel those that wait."),
    "snapshots": ("worker68.cli.snapshots:snapshots", "Look at what the syncs found and changed."),
    "accounts": ("worker68.cli.accounts:accounts", "Add, change and remove accounts while all runs."),
    "pause": ("worker68.cli.pause:pause", "Stop writing for an account, on every worker."),
    "resume": ("worker68.cli.pause:resume", "Let an account go on after a pause."),
    "dead": ("worker68.cli.dead:dead", "Look at what was set aside, put it back or drop it."),
    "check": ("worker68.cli.check:check", "Check that all parts are reachable and work."),
    "health": ("worker68.cli.short_cuts:health", "Say whether the worker of this host is well."),
    "top": ("worker68.cli.top:top", "Watch accounts and workers."),
    "flower": ("worker68.cli.flower:flower", "Watch tasks and workers in a browser."),
}

#: Packages that not every installation has, and the extra that brings each.
EXTRAS: Final = {"websockets": "simulator", "flower": "flower", "tornado": "flower"}

DONE, NOT_DONE, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


class Commands(click.Group):
    """The commands, imported on demand. A command returns its exit code, None for 0."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with importing():
            command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse words that are no UTF-8: Python keeps such bytes as what neither Redis nor a database can hold."""
        for word in args:
            try:
                word.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"{word.encode('utf-8', 'replace').decode()!r} is not UTF-8", ctx) from None
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the arguments name, and end the process with its exit code."""
        extra |= {"standalone_mode": False, "prog_name": "worker68"}
        try:
            code = super().main(*args, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            code = _fall_silent()
        except click.Abort:
            code = INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as help_:
            click.echo(help_.format_message(), err=True)
            code = WRONG_ARGUMENTS
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "worker68"
            code = _fail(f"{command}: {error.format_message().rstrip('.')} (see `{command} --help`)", WRONG_ARGUMENTS)
        except click.ClickException as error:
            code = _fail(f"worker68: {error.format_message()}", error.exit_code)
        except ModuleNotFoundError as missing:
            if missing.name not in EXTRAS:
                raise
            extra_ = EXTRAS[missing.name]
            code = _fail(f"worker68: this needs the package {missing.name}: pip install 'worker68[{extra_}]'", NOT_DONE)
        except SettingsError as error:
            code = _fail(f"worker68: {error}", WRONG_ARGUMENTS)
        except DatabaseAway as away:
            # Only now: the database's libraries take a while to import, and most commands need none of them.
            from worker68.cli.reach import explain_database

            code = _fail(f"worker68: {explain_database(away)}", NOT_DONE)
        except Worker68Error as error:
            code = _fail(f"worker68: {error}", NOT_DONE)
        sys.exit(code or DONE)


def _find_version() -> str:
    try:
        return importlib.metadata.version("worker68")
    except importlib.metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(_find_version(), message="worker68 %(version)s")
def main() -> None:
    """Sends jobs from Redis through the rate-limited bridge of a 68 chat account, and says what became of them.

    Settings come from the environment (WORKER68_...) or the TOML file that WORKER68_CONFIG names.

    \b
    Example, without any settings:
      worker68 demo
    """
    quieten_logs()


def quieten_logs() -> None:
    """Let only log lines of errors through, to standard error: a command's standard output is its answer."""
    logging.basicConfig(level=logging.ERROR, format="worker68: %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _fail(line: str, code: int) -> int:
    click.echo(" ".join(line.split()), err=True)
    return code


def _fall_silent() -> int:
    """The reader of our output has gone: let nothing more be said, also when Python closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NOT_DONE
