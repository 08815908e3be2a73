"""A finding: what one of the looks of ``worker68 check`` has found, and what they all look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from worker68.settings import AccountSettings, Settings
from worker68.store.engine import Engine


@dataclass(frozen=True)
class Finding:
    """What was found at one part; ``remedy`` says what to do about it, where ``found`` does not.

    Not ``ok``: jobs are not taken in, not run or not answered until a person acts; the exit code is 1. ``warning``: everything
    works, and a person should look all the same; the exit code stays 0.
    """

    part: str
    ok: bool
    found: str
    remedy: str | None = None
    warning: bool = False

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


@dataclass(frozen=True)
class Ground:
    """What there is to look at: ``redis`` and ``engine`` are None where they do not answer."""

    settings: Settings
    accounts: Mapping[str, AccountSettings]
    redis: Redis | None
    engine: Engine | None
