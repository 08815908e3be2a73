"""How producers test their own side: the text of a job says how it ends, and no other job is touched."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Stage, name


@pytest.mark.parametrize(
    ("magic", "status", "code", "frames", "sent"),
    [
        ("!sim:in_doubt", "in_doubt", "no_verdict", 1, 0),
        ("!sim:not_sent", "failed", "not_sent", 1, 0),
        ("!sim:refused", "failed", "refused", 1, 0),
        ("!sim:busy:1", "succeeded", None, 2, 1),
        ("!sim:late:300ms", "succeeded", None, 1, 1),
        ("!sim:bussy", "failed", "refused", 1, 0),
        ("!sim:drop", "in_doubt", "connection_lost", 1, 0),
    ],
)
def test_a_text_says_how_its_job_ends(
    stage: Stage, magic: str, status: str, code: str | None, frames: int, sent: int
) -> None:
    words = f"{name()} {magic}"
    reply = stage.end_of(stage.send(words))
    assert (reply["status"], (reply["error"] or {}).get("code")) == (status, code)
    assert (len(stage.frames(words)), stage.sent(words)) == (frames, sent)
    assert stage.run("send_message", chat={"type": "group", "id": 389284}, text=name())["status"] == "succeeded"
