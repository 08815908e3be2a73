"""``worker68.send_message`` at a simulated bridge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tasks.acting import GROUP_CHAT, act, error, result
from tests.parts.jobs import SEND, job, send_fields
from worker68.bridge.link import Link
from worker68.jobs.fields import Chat
from worker68.jobs.outcome import ErrorCode
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, MANAGED_GROUP, MUTABLE_MEMBER

FRIEND_CHAT = {"type": "friend", "id": FRIEND}


@pytest.mark.parametrize("chat", [GROUP_CHAT, FRIEND_CHAT], ids=["group", "friend"])
def test_a_text_goes_to_the_chat_that_the_job_names(
    simulated_link: Link, simulated: Simulator, chat: dict[str, Any]
) -> None:
    told = result(act(simulated_link, "send_message", chat=chat, text="one\ntwo"))
    (sent,) = simulated.sent
    assert ({"type": sent.chat_type, "id": sent.chat_id}, sent.text) == (chat, "one\ntwo")
    assert (told["custom_msg_id"], told["message_id"]) == (sent.custom_msg_id, sent.message_id)
    assert told["sent_at"] is not None


def test_it_quotes_and_mentions(simulated_link: Link, simulated: Simulator) -> None:
    quote = {"message_id": 77, "text": "before", "user_id": FRIEND, "name": "Eve"}
    mentions = [FRIEND, MUTABLE_MEMBER]
    result(act(simulated_link, "send_message", chat=GROUP_CHAT, text="hello", quote=quote, mentions=mentions))
    data = simulated.received[-1].frame["data"]
    assert data["list"][0]["values"]["atUids"] == mentions
    assert (data["quoteInfo"]["MsgID"], data["quoteInfo"]["content"]) == (77, "before")


def test_a_text_that_was_not_sent_has_failed(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.verdict = "not_sent"
    assert error(act(simulated_link, "send_message", chat=GROUP_CHAT, text="hello")) == (ErrorCode.NOT_SENT, None)


def test_a_job_stands_in_the_lane_of_its_chat_and_shows_its_text_to_intake() -> None:
    waiting = [job(seq, SEND, send_fields(chat=chat)) for seq, chat in enumerate((GROUP_CHAT, FRIEND_CHAT), start=1)]
    assert [one.chat for one in waiting] == [Chat("group", MANAGED_GROUP), Chat("friend", FRIEND)]
    assert waiting[0].lane != waiting[1].lane
    assert [one.kind.texts_of(one.fields) for one in waiting] == [{"text": "hello"}] * 2
