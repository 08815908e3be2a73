"""Sending a message: what proves a send is the same for a text, a file and an announcement."""

from __future__ import annotations

from worker68.jobs.judge import judge_send
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.protocol.messages import Message
from worker68.tasks.turn import Turn


async def send(turn: Turn, message: Message) -> Outcome | TryAgain:
    """Send the job's message and say what the evidence proves."""
    assert turn.job.custom_msg_id is not None
    return judge_send(await turn.send(message), turn.job.custom_msg_id, turn.account.confirm)
