"""The frames that the bridge sends unasked: what happened in, the frame out, shaped like ``events.json``.

The simulator sends some by itself; a test builds any of them and pushes it with ``Simulator.emit``. Never: a change of the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5
from pathlib import PureWindowsPath
from typing import Any, Final

from worker68.simulator.shapes import Json, sending_member, sending_user
from worker68.simulator.world import ChatType, World, now_ms

HELLO: Final[Json] = {"message": "Hello"}
NETWORK_UP: Final[Json] = {"operator": "network", "data": {"networkStatusType": "socketLogin"}}
NETWORK_DOWN: Final[Json] = {"operator": "network", "data": {"networkStatusType": "socketLoginout"}}

FILE: Final = 7
GROUP_NOTICE_EVENT: Final = 50
REFUSED_EVENT: Final = 52
#: Of such an event: the friend has blocked the account, or removed it (PROTOCOL.md, seen; which is which is not said).
BLOCKED: Final = 5114


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the account on its way out. ``text`` as the chat reads it (a file's path for a file)."""

    chat_type: ChatType
    chat_id: int
    text: str
    custom_msg_id: str
    message_id: int
    content_type: int = 0
    at_uids: tuple[int, ...] = ()
    refused: bool = False
    """The service will not let it through: verdict 0."""


def verdict(message: Message, read_status: int) -> Json:
    """Say what became of a message: 1 sent, 0 not sent, 2 read, -1 pending (PROTOCOL.md, doc/seen)."""
    updated: Json = {"readStatus": read_status}
    if read_status > 0:
        time = str(now_ms())
        updated = {"MsgID": message.message_id, "readStatus": read_status, "time": time, "sendTime": time}
    entry = {"customMsgId": message.custom_msg_id, "updated": updated}
    data = {"id": message.chat_id, "type": message.chat_type, "list": [entry], "readStatus": read_status}
    return {"operator": "msgListPropertyUpdate", "data": data}


def own_message(world: World, message: Message, *, line_break: str = "\n") -> Json:
    """Show the account its own message again. A line break in it is written as ``line_break`` ([open] which one is right)."""
    content = message.text.replace("\n", line_break)
    extra: Json = {"links": []}
    if message.content_type == FILE:
        name = PureWindowsPath(message.text).name
        # No file is read, so its size is made up.
        content = f"http://r11.aiolet.xyz/chat/file/{message.message_id}||{name}||11994"
        extra |= {"fileKey": "simulatedfilekey", "fileName": name, "fileSize": "11994", "size": "11994"}
    frame = _new_message(world, message, content, world.account)
    frame["data"] |= {**extra, "isSelf": True, "readStatus": 1}
    return frame


def pending_message(message: Message) -> Json:
    """Show the account its own message at once: the client has taken it, no more (PROTOCOL.md, seen)."""
    data = {
        "msgType": message.content_type,
        "content": message.text,
        "customMsgId": message.custom_msg_id,
        "isSelf": True,
        "chatType": message.content_type,
        "id": message.chat_id,
        "type": message.chat_type,
        "readStatus": -1,
        "time": now_ms(),
    }
    return {"operator": "msgNew", "data": data}


def refused_by_friend(world: World, message: Message) -> Json:
    """Say that a friend has blocked or removed the account: an event with an id of its own (PROTOCOL.md, seen)."""
    data = {
        "ChatType": REFUSED_EVENT,
        "chatType": REFUSED_EVENT,
        "msgType": REFUSED_EVENT,
        "content": "消息已发出，但被对方拒收了",
        "customMsgId": world.make_custom_id(),
        "errorType": BLOCKED,
        "errMsg": "消息已发出，但被对方拒收了",
        "sendUid": world.account,
        "targetId": message.chat_id,
        "id": message.chat_id,
        "type": message.chat_type,
        "sendTime": now_ms(),
    }
    return {"operator": "msgNew", "operatorType": "notification", "data": data}


def friend_message(world: World, uid: int, text: str) -> Json:
    """Let a friend write to the account."""
    message = Message("friend", uid, text, world.make_custom_id(), world.next_message_id())
    frame = _new_message(world, message, text, uid)
    frame["data"] |= {"sendUser": sending_user(world.people[uid]), "isSelf": False}
    return frame


def group_message(world: World, group_id: int, uid: int, text: str) -> Json:
    """Let a member write in a group."""
    message = Message("group", group_id, text, world.make_custom_id(), world.next_message_id())
    frame = _new_message(world, message, text, uid)
    frame["data"] |= {"sendMember": sending_member(world, world.groups[group_id], uid), "isSelf": False}
    return frame


def group_changed(group_id: int, **values: Any) -> Json:
    return {"operator": "groupUpdate", "data": {"type": "group", "id": group_id, "values": values}}


def group_muted(group_id: int, *, muted: bool) -> Json:
    time = now_ms()
    data = {
        "id": group_id,
        "time": time,
        "sendTime": time,
        "type": "group",
        "targetId": 0,
        "groupId": group_id,
        "content": "管理员开启了全员禁言" if muted else "管理员关闭了全员禁言",
        "operator": "message",
        "chatType": GROUP_NOTICE_EVENT,
        "msgType": GROUP_NOTICE_EVENT,
        "notificationType": "groupShutupAll",
        "bfShutup": muted,
    }
    return {"operator": "msgNew", "operatorType": "groupShutupAll", "data": data}


def recall(uid: int, *message_ids: int) -> Json:
    """Let messages with a friend be deleted on both sides."""
    time = str(now_ms())
    entries = [{"msgId": str(one), "msgTargetId": str(uid), "clearTime": time} for one in message_ids]
    return {"operator": "recall_msg", "data": {"recallOneToOneMessages": entries}}


def _new_message(world: World, message: Message, content: str, sender: int) -> Json:
    time = now_ms()
    data: Json = {
        "msgType": message.content_type,
        "sendUid": sender,
        "content": content,
        "sendTime": time,
        "msgId": message.message_id,
        "contentMd5": md5(content.encode(), usedforsecurity=False).hexdigest(),
        "customMsgId": message.custom_msg_id,
        "MsgID": message.message_id,
        "UserID": sender,
        "ChatType": message.content_type,
        "chatType": message.content_type,
        "id": message.chat_id,
        "time": time,
        "type": message.chat_type,
    }
    if message.chat_type == "group":
        name = world.groups[message.chat_id].name
        data |= {"atUids": list(message.at_uids), "atUsers": [], "groupId": message.chat_id}
        data |= {"groupName": name, "name": name}
    else:
        receiver = message.chat_id if sender == world.account else world.account
        data |= {"receiveUid": receiver, "version": 6, "friendId": message.chat_id}
    return {"operator": "msgNew", "data": data}
