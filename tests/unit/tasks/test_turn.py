"""A job's turn at a bridge that answers at once: what a send's evidence says of whether the client had taken the message."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.parts.jobs import send_fields
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.jobs.evidence import TAKEN_SECONDS, Evidence
from worker68.jobs.fields import Chat
from worker68.protocol.messages import TextMessage


@dataclass
class Call:
    seen: Evidence
    seconds_at_the_bridge: float

    async def wait(self, deadline: Any) -> Evidence:
        return self.seen


@dataclass
class Link:
    written: Call
    why_not_ready: str | None = None
    why_not_reached: str | None = None
    connections: int = 1
    told: dict[str, Any] = field(default_factory=dict)

    def send(self, *_: Any, **told: Any) -> Call:
        self.told = told
        return self.written

    def call(self, *_: Any, **__: Any) -> Call:
        raise NotImplementedError

    def request(self, *_: Any, **__: Any) -> Call:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("seen", "seconds", "why_not_ready", "not_taken"),
    [
        (Evidence(written=True), TAKEN_SECONDS, None, True),
        (Evidence(written=True), TAKEN_SECONDS - 0.1, None, False),
        (Evidence(written=True), 30.0, "the client is logged out", False),
        (Evidence(written=True, connection_lost=True), 30.0, None, False),
        (Evidence(written=True, taken=True), 30.0, None, False),
        (Evidence(), 0.0, None, False),
    ],
)
def test_only_a_healthy_link_says_that_the_client_did_not_take_a_message(
    seen: Evidence, seconds: float, why_not_ready: str | None, not_taken: bool
) -> None:
    taken = turn(Link(Call(seen, seconds), why_not_ready), "worker68.send_message", **send_fields())
    finding = run(taken.send(TextMessage(Chat("friend", 7), "hello")))
    assert ("the client did not show it" in str(finding)) is not_taken


@pytest.mark.parametrize(
    ("attempts", "attempts_before", "again"), [(0, 0, False), (1, 0, True), (1, 1, False), (3, 1, True)]
)
def test_the_link_is_told_whether_an_earlier_try_may_have_written_the_message(
    attempts: int, attempts_before: int, again: bool
) -> None:
    """Those of an earlier step have not: they made the change that the message announces."""
    link = Link(Call(Evidence(written=True), 0.0))
    taken = turn(link, "worker68.send_message", **send_fields())
    taken.job = replace(taken.job, attempts=attempts, attempts_before=attempts_before)
    run(taken.send(TextMessage(Chat("friend", 7), "hello")))
    assert (link.told["attempt"], link.told["again"]) == (attempts + 1, again)
