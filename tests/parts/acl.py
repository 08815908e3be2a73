"""The user of Redis that docs/redis.md describes, made from the text of that page."""

from __future__ import annotations

import re
from pathlib import Path

import redis

PAGE = Path(__file__).resolve().parents[2] / "docs" / "redis.md"
USER, PASSWORD = "worker68", "from-the-page"

_LINE = re.compile(rf"^ACL SETUSER {USER} (.+)$", re.MULTILINE)


def lines_of_page() -> list[str]:
    """Return the rules of each line; the last one may be left out, says the page."""
    lines = _LINE.findall(PAGE.read_text())
    assert len(lines) > 2, "the page has no rules any more"
    return lines


def make_user(client: redis.Redis, lines: list[str]) -> None:
    """Make the user anew from these lines."""
    for line in lines:
        rules = [f">{PASSWORD}" if rule == ">SECRET" else rule for rule in line.split()]
        client.execute_command("ACL", "SETUSER", USER, *rules)  # type: ignore[no-untyped-call]


def url_of(url: str) -> str:
    """Return the URL under which the user reaches the same Redis."""
    return url.replace("redis://", f"redis://{USER}:{PASSWORD}@")
