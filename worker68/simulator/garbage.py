"""Frames that no bridge should send and every client must survive. Nothing in, raw WebSocket payloads out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Twice what the largest honest reply (some thousand members) comes to.
HUGE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Garbage:
    """A payload, and whether it goes into a text frame or a binary one."""

    payload: bytes
    text: bool = True


def _huge() -> Garbage:
    return Garbage(b'{"operator":"msgNew","data":{"content":"' + b"x" * HUGE_BYTES + b'"}}')


GARBAGE: Final[dict[str, Callable[[], Garbage]]] = {
    "not_json": lambda: Garbage(b"{not json"),
    "empty": lambda: Garbage(b""),
    "list": lambda: Garbage(b'[{"id":"1","type":"sendMsg"}]'),
    "number": lambda: Garbage(b"68"),
    "null": lambda: Garbage(b"null"),
    "deep": lambda: Garbage(b"[" * 5_000 + b"]" * 5_000),
    "huge_number": lambda: Garbage(b'{"id":' + b"9" * 400 + b',"type":"request","data":1e999}'),
    "invalid_utf8": lambda: Garbage(b'{"operator":"msgNew","data":{"content":"\xff\xfe"}}'),
    "binary": lambda: Garbage(bytes(range(256)), text=False),
    "binary_json": lambda: Garbage(b'{"operator":"network","data":{"networkStatusType":"networkAnomaly"}}', text=False),
    "unknown_operator": lambda: Garbage(b'{"operator":"somethingNew","data":{"id":389284}}'),
    "operator_not_text": lambda: Garbage(b'{"operator":{"a":1},"data":null}'),
    "verdict_without_list": lambda: Garbage(b'{"operator":"msgListPropertyUpdate","data":{"id":389284}}'),
    "verdict_of_nobody": lambda: Garbage(
        b'{"operator":"msgListPropertyUpdate","data":{"id":1,"type":"group","list":'
        b'[{"customMsgId":"99999999999","updated":{"readStatus":0}},null,7],"readStatus":0}}'
    ),
    "unknown_reply": lambda: Garbage(b'{"id":"asked-by-nobody","type":"sendMsg","data":"success"}'),
    "reply_without_type": lambda: Garbage(b'{"id":null,"error":{"errorDesc":{"a":[1]}}}'),
    "huge": _huge,
}
