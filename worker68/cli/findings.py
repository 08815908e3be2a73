"""A finding: what one of the looks of ``worker68 check`` has found, and what they all look at."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from redis import Redis
from redis.exceptions import NoPermissionError

from worker68.errors import RedisForbids
from worker68.fleet.accounts import Known
from worker68.settings import AccountSettings, Settings
from worker68.store.engine import Engine

#: The cause of all that Redis refuses its user. Other causes are the names of keys.
RIGHTS: Final = "rights"


@dataclass(frozen=True)
class Finding:
    """What was found at one part; ``remedy`` says what to do about it, where ``found`` does not.

    Not ``ok``: jobs are not taken in, not run or not answered until a person acts; the exit code is 1. ``warning``: everything
    works, and a person should look all the same; the exit code stays 0. ``cause``: what several looks may meet, see ``gather``;
    ``effect``: what this finding says of it that the others do not.
    """

    part: str
    ok: bool
    found: str
    remedy: str | None = None
    warning: bool = False
    cause: str = ""
    effect: str = ""

    @property
    def verdict(self) -> str:
        return "wrong" if not self.ok else "warning" if self.warning else "ok"

    def as_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "ok": self.ok,
            "warning": self.warning,
            "found": self.found,
            "remedy": self.remedy,
        }


def gather(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each cause: the first one, with the effects of the others."""
    gathered: dict[Hashable, Finding] = {}
    for finding in findings:
        key = finding.cause or finding
        first = gathered.setdefault(key, finding)
        if first is not finding and finding.effect:
            gathered[key] = replace(first, found=f"{first.found}; {finding.effect}")
    return list(gathered.values())


def cause_of(error: Exception) -> str:
    """Return the cause of an error of Redis, where it is known."""
    return RIGHTS if isinstance(error, (NoPermissionError, RedisForbids)) else ""


class NotThere(Exception):
    """A look needs Redis or the database, which do not answer: it has nothing to say."""


@dataclass(frozen=True)
class Ground:
    """What there is to look at. ``redis`` and ``engine`` raise ``NotThere`` where they do not answer."""

    settings: Settings
    known: Known
    reached_redis: Redis | None
    opened_engine: Engine | None

    @property
    def accounts(self) -> Mapping[str, AccountSettings]:
        return self.known.accounts

    @property
    def redis(self) -> Redis:
        if self.reached_redis is None:
            raise NotThere
        return self.reached_redis

    @property
    def engine(self) -> Engine:
        if self.opened_engine is None:
            raise NotThere
        return self.opened_engine
