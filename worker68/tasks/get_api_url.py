"""``worker68.get_api_url``: ask the client for the base of the service's API, which changes over time. [doc]"""

from __future__ import annotations

from typing import Final

from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import NoFields
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, read
from worker68.tasks.turn import Turn, data_of, holds_no


async def get_api_url(turn: Turn, _: NoFields) -> Outcome | TryAgain:
    finding = judge_request(await turn.call("getApiUrl"))
    url = data_of(finding)
    if url is None:
        return finding
    return succeeded({"api_url": url}) if isinstance(url, str) else holds_no("address")


TASK: Final = Task(
    "worker68.get_api_url",
    "Ask the client for the address of the service's API.",
    NoFields,
    JobClass.SYNC,
    (read(get_api_url, "getApiUrl", through_api=False),),
    result="`api_url`",
)
