"""What a producer with our package reads of a job that did not succeed."""

from __future__ import annotations

import json

from worker68.client import JobFailed


def test_the_exception_that_a_producer_gets_says_why() -> None:
    cancelled = {"job_id": "j", "status": "cancelled", "reason": "called off"}
    assert str(JobFailed(json.dumps(cancelled))) == "job j cancelled: called off"
