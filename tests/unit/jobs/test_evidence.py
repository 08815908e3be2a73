"""The bridge's word that a message was not sent counts where it is tied by the id and comes soon."""

from __future__ import annotations

import pytest

from worker68.jobs.evidence import NOT_SENT_CREDIBLE_SECONDS, Evidence, Verdict


@pytest.mark.parametrize(
    ("evidence", "credible"),
    [
        (Evidence(verdict=Verdict.NOT_SENT, tied_by="id", verdict_seconds=NOT_SENT_CREDIBLE_SECONDS), True),
        (Evidence(verdict=Verdict.NOT_SENT, tied_by="id", verdict_seconds=NOT_SENT_CREDIBLE_SECONDS + 0.1), False),
        (Evidence(verdict=Verdict.NOT_SENT, tied_by="id"), False),
        (Evidence(verdict=Verdict.NOT_SENT, tied_by="chat", verdict_seconds=1.0), False),
        (Evidence(verdict=Verdict.SENT, tied_by="id", verdict_seconds=1.0), False),
    ],
)
def test_not_sent_is_believed_by_its_id_and_soon(evidence: Evidence, credible: bool) -> None:
    assert evidence.credibly_not_sent is credible
