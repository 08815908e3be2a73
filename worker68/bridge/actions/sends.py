"""Messages: a text, a file, and the announcements that follow a change. What proves a send is the same for all of them."""

from __future__ import annotations

from worker68.bridge.actions.turn import Turn
from worker68.bridge.messages import FileMessage, Message, MuteAnnouncement, NoticeAnnouncement, TextMessage
from worker68.jobs.fields import MuteGroup, SendFile, SendMessage, SetGroupNotice
from worker68.jobs.judge import judge_send
from worker68.jobs.outcome import Outcome, TryAgain

#: What the bridge's own client tells a group that it mutes, and the same for the end of it. [doc for the first]
MUTED_TEXT, UNMUTED_TEXT = "管理员开了全员禁言", "管理员关闭了全员禁言"


async def send_message(turn: Turn) -> Outcome | TryAgain:
    fields = turn.job.fields
    assert isinstance(fields, SendMessage)
    return await _send(turn, TextMessage(fields.chat, fields.text, fields.quote, fields.mentions))


async def send_file(turn: Turn) -> Outcome | TryAgain:
    fields = turn.job.fields
    assert isinstance(fields, SendFile)
    return await _send(turn, FileMessage(fields.chat, fields.path))


async def announce_notice(turn: Turn) -> Outcome | TryAgain:
    """Tell a group its new notice: setting it does not. [doc]"""
    fields = turn.job.fields
    assert isinstance(fields, SetGroupNotice)
    return await _send(turn, NoticeAnnouncement(fields.group_id, fields.notice))


async def announce_mute(turn: Turn) -> Outcome | TryAgain:
    """Tell a group that it was muted, or is no longer. [doc]"""
    fields = turn.job.fields
    assert isinstance(fields, MuteGroup)
    text = fields.announcement_text or (MUTED_TEXT if fields.muted else UNMUTED_TEXT)
    return await _send(turn, MuteAnnouncement(fields.group_id, text, fields.muted))


async def _send(turn: Turn, message: Message) -> Outcome | TryAgain:
    assert turn.job.custom_msg_id is not None
    return judge_send(await turn.send(message), turn.job.custom_msg_id, turn.account.confirm)
