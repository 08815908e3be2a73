"""The message of a ready job: what Flower shows of it."""

from __future__ import annotations

import pytest

from tests.parts.jobs import job
from worker68.broker.message import deliverable
from worker68.broker.request import SEQ

NOTICE = "worker68.set_group_notice"


@pytest.mark.parametrize(("step", "attempts", "retries"), [(0, 0, 0), (0, 1, 1), (1, 1, 0), (1, 2, 1), (1, 4, 3)])
def test_a_step_that_is_done_is_no_retry(step: int, attempts: int, retries: int) -> None:
    ready = job(7, NOTICE, step=step, attempts=attempts, attempts_before=step)
    assert deliverable(ready).raw["headers"]["retries"] == retries


def test_it_bears_the_jobs_number_and_none_of_its_text() -> None:
    raw = deliverable(job(7, NOTICE)).raw
    assert raw["headers"][SEQ] == 7
    assert "be kind" not in str(raw)
