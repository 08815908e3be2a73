"""What Celery's events, and so Flower, are told of the end of a run."""

from __future__ import annotations

import pytest

from worker68.jobs.evidence import BridgeError, Evidence
from worker68.jobs.judge import give_up, judge_request, judge_send, judge_unknown_call
from worker68.jobs.outcome import Outcome, TryAgain, expired, succeeded
from worker68.tasks import tell_end

SECRET = "meet me at nine"


def told(conclusion: Outcome | TryAgain | None) -> tuple[str | None, str]:
    end = tell_end("id-1", conclusion)
    return end.event, repr(end.fields)


@pytest.mark.parametrize("code", [403, 300, "300: " + SECRET, None])
def test_the_bridges_words_are_not_in_it(code: int | str | None) -> None:
    """They may repeat the message: "sensitive word: ..."."""
    seen = Evidence(written=True, replied=True, error=BridgeError(code, f"sensitive word: {SECRET}"))
    for finding in (judge_send(seen, 10_000_000_001, "verdict"), judge_request(seen), judge_unknown_call(seen)):
        last = give_up(finding, 5) if isinstance(finding, TryAgain) else finding
        assert last.error is not None
        assert SECRET in last.error.message, "its producer reads them"
        for conclusion in (finding, last):
            event, fields = told(conclusion)
            assert event in ("task-failed", "task-retried")
            assert SECRET not in fields
            assert ("busy" if code == 300 else "refused") in fields
            assert str(code) in fields or not isinstance(code, int)


def test_what_else_is_told() -> None:
    assert told(None) == (None, "{}")
    assert told(succeeded({"data": SECRET})) == ("task-succeeded", repr({"result": "{'status': 'succeeded'}"}))
    assert "expired" in told(expired(SECRET))[1]
    assert SECRET not in told(expired(SECRET))[1]
