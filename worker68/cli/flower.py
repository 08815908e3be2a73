"""``worker68 flower``: Celery's Flower for this worker's settings, with a password on everything but what tells nothing.

In: Flower's own options. Out: Flower, until it is stopped. As Flower comes, its ``/metrics`` asks nobody for a password and tells
tasks and workers: here it is closed like the rest. Open are ``/healthcheck`` ("OK"), the login page and its styles.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import click
import tornado.web
from celery.bin.celery import celery as celery_command
from flower import urls
from flower.views import monitor

from worker68.errors import SettingsError
from worker68.settings import load_settings

#: Who may look: a password, or Flower's sign-in with somebody else's accounts.
AUTHENTICATIONS: Final = ("basic_auth", "auth")
_BASIC: Final = re.compile(r"[^:,]+:[^,]+(,[^:,]+:[^,]+)*")
#: Flower compares in a way that other characters break: it would start, and refuse everybody.
_ASCII: Final = re.compile(r"[ -~]*")


class ClosedMetrics(monitor.Metrics):  # type: ignore[misc]
    """Flower's metrics for whoever may look at the rest."""

    @tornado.web.authenticated
    async def get(self) -> None:
        await super().get()


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
    check_authentication(options)
    os.environ.setdefault("FLOWER_READ_ONLY", "true")
    close_metrics(urls.handlers)
    # Flower takes its name and options from here.
    sys.argv = ["worker68", "-A", "worker68", "flower", *options]
    celery_command.main(args=sys.argv[1:], prog_name="worker68", auto_envvar_prefix="CELERY")


def drop_empty_variables(environment: MutableMapping[str, str]) -> None:
    """Let an empty variable of Flower's count as not set: Flower itself would take it for a value."""
    for name in [name for name, value in environment.items() if name.startswith("FLOWER_") and not value]:
        del environment[name]


def check_authentication(options: tuple[str, ...]) -> None:
    """Raise ``SettingsError`` where anybody could look."""
    given = {name: os.environ.get(f"FLOWER_{name.upper()}", "") for name in AUTHENTICATIONS}
    for option in options:
        name, _, value = option.lstrip("-").replace("-", "_", 1).partition("=")
        if name in given:
            given[name] = value
    if os.environ.get("FLOWER_UNAUTHENTICATED_API", "").lower() not in ("", "0", "false", "no", "off", "n", "f"):
        raise SettingsError("FLOWER_UNAUTHENTICATED_API is set, which opens Flower's API to everybody: unset it")
    if not _ASCII.fullmatch(given["basic_auth"]):
        raise SettingsError(
            "FLOWER_BASIC_AUTH holds more than plain ASCII characters, with which Flower would refuse everybody"
        )
    if given["auth"]:
        return
    if not _BASIC.fullmatch(given["basic_auth"]):
        raise SettingsError(
            "FLOWER_BASIC_AUTH is not set, or no USER:PASSWORD: Flower would show everything to everybody"
        )


def close_metrics(handlers: list[Any]) -> None:
    """Put Flower's metrics behind the password. Raises ``LookupError`` where this Flower has none: then look what it has."""
    plain = ((place, handler) for place, handler in enumerate(handlers) if isinstance(handler, tuple))
    places = [place for place, handler in plain if handler[1] is monitor.Metrics]
    if not places:
        raise LookupError("this Flower serves no metrics where they were expected")
    for place in places:
        handlers[place] = (handlers[place][0], ClosedMetrics, *handlers[place][2:])
