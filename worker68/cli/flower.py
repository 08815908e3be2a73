"""``worker68 flower``: Celery's Flower for this worker's settings, with a password on everything but what says nothing.

Its buttons Revoke and Terminate show what the workers answer; as Flower comes, it says "Revoked" without waiting for an answer.

In: Flower's own options. Out: Flower, until it is stopped. As Flower comes, its ``/metrics`` asks for no password and names
tasks and workers: here it is closed like the rest. Open are ``/healthcheck`` ("OK"), the login page and its styles.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import click
import structlog
import tornado.web
from flower import app as flower_app
from flower import urls
from flower.api import control
from flower.command import apply_env_options
from flower.inspector import Inspector
from flower.options import options as flower_options
from flower.views import monitor

from worker68.celery_worker.internals import run_celery_command
from worker68.errors import SettingsError
from worker68.settings import load_settings

log = structlog.get_logger(__name__)

#: What decides who may look: a password, or Flower's sign-in with the accounts of another service.
AUTHENTICATIONS: Final = ("basic_auth", "auth")
_BASIC: Final = re.compile(r"[^:,]+:[^,]+(,[^:,]+:[^,]+)*")
#: Flower compares in a way that other characters break: it would start, and refuse every login.
_ASCII: Final = re.compile(r"[ -~]*")


class ClosedMetrics(monitor.Metrics):  # type: ignore[misc]
    """Flower's metrics, behind the same password as the rest."""

    @tornado.web.authenticated
    async def get(self) -> None:
        await super().get()


class AnsweredRevoke(control.TaskRevoke):  # type: ignore[misc]
    """Flower's revoke, with the answers of the workers in place of a "Revoked" that waits for none."""

    @tornado.web.authenticated
    async def post(self, taskid: str) -> None:
        if self.application.options.read_only:
            raise tornado.web.HTTPError(403, "Read only mode is enabled")
        terminate = self.get_argument("terminate", default=False, type=bool)
        command, more = ("terminate", {"signal": "SIGTERM"}) if terminate else ("revoke", {})
        replies = await self.run_blocking(
            "task.revoke",
            taskid,
            self.capp.control.broadcast,
            command,
            arguments={"task_id": taskid, **more},
            reply=True,
        )
        answers = [answer for reply in replies or [] for answer in reply.values()]
        errors = sorted({answer["error"] for answer in answers if "error" in answer})
        if errors or not answers:
            self.set_status(403)
            self.write("; ".join(errors) or "No worker answered: `worker68 jobs cancel ID` needs none")
        else:
            self.write({"message": "; ".join(sorted({answer["ok"] for answer in answers}))})


class PatientInspector(Inspector):  # type: ignore[misc]
    """Flower's look at its workers, which leaves out what a worker does not know now: its page would break at an error."""

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        if isinstance(response, dict) and set(response) == {"error"}:
            log.warning("worker_did_not_say", worker=workername, question=method, problem=response["error"])
        else:
            super()._on_update(workername, method, response)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[FLOWER OPTIONS]...")
def flower(options: tuple[str, ...]) -> None:
    """Watch tasks and workers in a browser: the same as `celery -A worker68 flower`, with a password on every page.

    All options are Flower's own and are handed on; each may also stand in the environment, as FLOWER_NAME. FLOWER_BASIC_AUTH must
    be set. Without FLOWER_READ_ONLY=false nothing can be changed.

    \b
    Example:
      FLOWER_BASIC_AUTH=admin:secret worker68 flower --port=5555
    """
    load_settings().require_redis_url()
    drop_empty_variables(os.environ)
    words = join_values(options)
    check_authentication(words)
    check_values(words)
    os.environ.setdefault("FLOWER_READ_ONLY", "true")
    replace_handler(urls.handlers, monitor.Metrics, ClosedMetrics)
    replace_handler(urls.handlers, control.TaskRevoke, AnsweredRevoke)
    flower_app.Inspector = PatientInspector
    # Flower takes its name and options from here.
    sys.argv = ["worker68", "-A", "worker68", "flower", *words]
    try:
        run_celery_command(sys.argv[1:])
    except OSError as error:  # its port is taken, or a file that it is to read is not there
        raise click.ClickException(f"Flower ended: {error}") from None


def join_values(words: Sequence[str]) -> list[str]:
    """Return Flower's options as it reads them, ``--name=value``, also where a value is a word of its own. Raises ``UsageError``.

    Flower itself ends with a traceback where a value is missing, and leaves out an option that it does not have.
    """
    joined: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        option, equals, _ = word.partition("=")
        name = option.lstrip("-").replace("-", "_")
        if not word.startswith("-") or name not in flower_options:
            raise click.UsageError(f"Flower has no option {option}")
        if not equals and not isinstance(getattr(flower_options, name), bool):
            if not rest or rest[0].startswith("-"):
                raise click.UsageError(f"{option} needs a value: {option}=VALUE")
            word = f"{option}={rest.popleft()}"
        joined.append(word)
    return joined


def check_values(words: Sequence[str]) -> None:
    """Read variables and options as Flower will. Raises ``SettingsError`` or ``UsageError`` where Flower would raise anything."""
    try:
        apply_env_options()
    except (TypeError, ValueError) as error:
        raise SettingsError(f"a variable FLOWER_... cannot be read: {error}") from None
    for word in words:
        try:
            flower_options.parse_command_line(["flower", word], final=False)
        except (TypeError, ValueError) as error:
            raise click.UsageError(f"{word.partition('=')[0]}: {error}") from None


def drop_empty_variables(environment: MutableMapping[str, str]) -> None:
    """Let an empty variable of Flower's count as not set: Flower itself would take it for a value."""
    for name in [name for name, value in environment.items() if name.startswith("FLOWER_") and not value]:
        del environment[name]


def check_authentication(options: Sequence[str]) -> None:
    """Raise ``SettingsError`` where Flower would show anything without a password."""
    given = {name: os.environ.get(f"FLOWER_{name.upper()}", "") for name in AUTHENTICATIONS}
    for option in options:
        name, _, value = option.lstrip("-").replace("-", "_", 1).partition("=")
        if name in given:
            given[name] = value
    if os.environ.get("FLOWER_UNAUTHENTICATED_API", "").lower() not in ("", "0", "false", "no", "off", "n", "f"):
        raise SettingsError("FLOWER_UNAUTHENTICATED_API is set, which opens Flower's API without a password: unset it")
    if not _ASCII.fullmatch(given["basic_auth"]):
        raise SettingsError(
            "FLOWER_BASIC_AUTH holds more than plain ASCII characters, with which Flower would refuse every login"
        )
    if given["auth"]:
        return
    if not _BASIC.fullmatch(given["basic_auth"]):
        raise SettingsError(
            "FLOWER_BASIC_AUTH is not set, or no USER:PASSWORD: Flower would show everything without a password"
        )


def replace_handler(handlers: list[Any], stock: type, ours: type) -> None:
    """Put our handler in the place of one of Flower's. Raises ``LookupError`` where this Flower has none: then look what it has."""
    plain = ((place, handler) for place, handler in enumerate(handlers) if isinstance(handler, tuple))
    places = [place for place, handler in plain if handler[1] is stock]
    if not places:
        raise LookupError(f"this Flower has no {stock.__name__} where it was expected")
    for place in places:
        handlers[place] = (handlers[place][0], ours, *handlers[place][2:])
