"""Whatever the order in which a bridge says things, each call is settled exactly once, and nothing of it stays behind.

The bridge says everything that it may say of each call: replies once, twice or never, verdicts that contradict each other, echoes,
pending and proven, a chatType-52 notice, all in any order and between those of other calls, over any number of connections. The
caller gives up at some point, before or after. (What a settlement needs as its proof: ``test_correlation.py``, the ``Witness``.)
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker68.bridge.calls import Pending, SendTerms
from worker68.bridge.correlation import Correlation, CorrelationEvent, Match, Refused, Settled
from worker68.bridge.frames import decode
from worker68.bridge.tally import Tally
from worker68.jobs.fields import Chat

CHATS = [Chat("group", 389284), Chat("friend", 4008697)]

#: What a bridge may say of a call, by name; each may come several times.
SAYINGS = ["reply", "error", "busy", "garbled reply"]
SAYINGS_OF_SENDS = [
    "sent",
    "not sent",
    "pending",
    "read",
    "echo",
    "pending echo",
    "echo of the bridge's own id",
    "refused by friend",
]

KIND = st.sampled_from(["plain", "send", "send", "send"])
CALL = st.tuples(
    KIND,
    st.sampled_from(CHATS),
    st.sampled_from(["verdict", "reply", "write"]),
    st.lists(st.sampled_from(["written whole", *SAYINGS, *SAYINGS_OF_SENDS]), max_size=6),
)


@dataclass
class Made:
    """A call, what the bridge will say of it, and how often it was settled."""

    number: int
    pending: Pending
    steps: list[str]
    settled: int = 0
    given_up: bool = False


@dataclass
class Bridge:
    """A correlation, its calls, and the order of what happens."""

    match: Match
    made: list[Made] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.correlation = Correlation(self.match, Tally(), max_pending=100)

    def add(self, call: tuple[str, Chat, Any, list[str]]) -> None:
        kind, chat, confirm, steps = call
        number = len(self.made)
        send = (
            SendTerms(f"1000000000{number}", chat, frozenset({f"text {number}"}), confirm, 1)
            if kind == "send"
            else None
        )
        self.made.append(Made(number, Pending(f"r{number}", send), ["add", "write", *steps, "give up"]))

    def step(self, made: Made) -> None:
        """Take the next step of a call, if it has one left."""
        if not made.steps:
            return
        self.now += 1.0
        name = made.steps.pop(0)
        if name == "add":
            try:
                self.correlation.add(made.pending)
            except Refused:
                made.steps.clear()  # not a byte of it is written; nothing will be said of it
                made.settled = 1
            return
        if name == "write":
            self.correlation.note_written(made.pending, self.now)
        elif name == "give up":
            self.give_up(made)
        elif name == "written whole":
            if made.pending.request_id in self.under_way:
                self.take(self.correlation.note_written_whole(made.pending))
        else:
            self.take(self.correlation.receive(decode(self.saying(made, name)), self.now))

    def give_up(self, made: Made) -> None:
        """As the caller does at its deadline: only a call that is not over ends by it."""
        made.given_up = made.pending.request_id in self.under_way
        self.correlation.end(made.pending)

    def lose(self) -> None:
        self.now += 1.0
        self.take(self.correlation.note_connection_lost(self.now))

    def take(self, events: list[CorrelationEvent]) -> None:
        for event in events:
            if isinstance(event, Settled):
                (made,) = [one for one in self.made if one.pending is event.pending]
                made.settled += 1
                assert made.pending.request_id not in self.under_way
                assert not made.given_up, "nothing is settled that its caller has given up"

    @property
    def under_way(self) -> dict[str, Pending]:
        return self.correlation._calls

    def saying(self, made: Made, name: str) -> bytes:
        """Return a frame of the bridge about a call; of a plain call only its reply can be said."""
        send = made.pending.send
        reply = {"id": made.pending.request_id, "type": "x"}
        replies: dict[str, Any] = {
            "reply": reply | {"data": "success"},
            "error": reply | {"error": {"errorCode": 403}},
            "busy": reply | {"error": {"errorCode": 300, "errorDesc": "#A0030"}},
        }
        if name == "garbled reply" or send is None:
            garbled = f'{{"id":"{made.pending.request_id}","data":tru}}'.encode()
            return json.dumps(replies[name]).encode() if name in replies else garbled
        own_id, chat = send.custom_msg_id, {"id": send.chat.id, "type": send.chat.type}
        verdicts: dict[str, Any] = {
            status_name: {
                "operator": "msgListPropertyUpdate",
                "data": {**chat, "list": [{"customMsgId": own_id, "updated": {"readStatus": status, "MsgID": 77}}]},
            }
            for status_name, status in {"sent": 1, "not sent": 0, "pending": -1, "read": 2}.items()
        }
        (text,) = send.texts
        echo = {**chat, "isSelf": True, "content": text, "customMsgId": own_id}
        echoes: dict[str, Any] = {
            "echo": echo | {"readStatus": 1, "MsgID": 77},
            "pending echo": echo | {"readStatus": -1},
            "echo of the bridge's own id": echo | {"readStatus": 1, "MsgID": 78, "customMsgId": "90000000009"},
            "refused by friend": {**chat, "chatType": 52, "errorType": 5114, "customMsgId": "52017786539"},
        }
        said = replies | verdicts | {key: {"operator": "msgNew", "data": data} for key, data in echoes.items()}
        return json.dumps(said[name]).encode()


@pytest.mark.parametrize("match", ["id", "chat", "auto"])
@settings(max_examples=300)
@given(data=st.data())
def test_any_interleaving_settles_each_call_exactly_once(match: Match, data: st.DataObject) -> None:
    bridge = Bridge(match)
    for call in data.draw(st.lists(CALL, min_size=1, max_size=6), "calls"):
        bridge.add(call)
    turns = [number for number, made in enumerate(bridge.made) for _ in made.steps]
    losses = data.draw(st.integers(0, 2), "losses")
    for turn in data.draw(st.permutations([*turns, *[-1] * losses]), "order"):
        if turn < 0:
            bridge.lose()
        else:
            bridge.step(bridge.made[turn])

    assert Counter(made.settled + made.given_up for made in bridge.made) == {1: len(bridge.made)}
    registers = (bridge.under_way, bridge.correlation._sends_by_id, bridge.correlation._sends_by_chat)
    assert [len(register) for register in registers] == [0, 0, 0], "nothing of an ended call stays behind"


@pytest.mark.parametrize("match", ["id", "chat", "auto"])
@settings(max_examples=300)
@given(data=st.data())
def test_what_a_settled_call_knows_is_not_changed_by_what_comes_later(match: Match, data: st.DataObject) -> None:
    """A caller has acted on it: what comes later is late evidence, or counted."""
    bridge = Bridge(match)
    bridge.add(data.draw(CALL, "call"))
    (made,) = bridge.made

    def known_of_it() -> Any:
        return made.pending.evidence, bridge.under_way.get(made.pending.request_id)

    while made.steps and not made.settled:
        bridge.step(made)
    known = known_of_it()
    names = data.draw(st.lists(st.sampled_from([*SAYINGS, *SAYINGS_OF_SENDS]), max_size=6), "later")
    for name in names:
        bridge.take(bridge.correlation.receive(decode(bridge.saying(made, name)), bridge.now))
    bridge.lose()
    assert known_of_it() == known
    assert made.settled + made.given_up == 1
