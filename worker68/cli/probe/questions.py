"""The questions of a probe, as data: what each asks, and what each answer settles.

In: a session with a bridge. Out: for each question the key of its answer. Never: a change of anything; a message to anyone but the
account itself, and that only where the session may send. The statements are those of PROTOCOL.md, with their grades.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, NamedTuple

from worker68.cli.probe.wire import (
    REPLY_SECONDS,
    ProbeFailed,
    Session,
    connect,
    field_in,
    field_of,
    is_success,
    kind_of,
    kind_of_id,
    send,
)
from worker68.protocol.api import CONTACTS_DETAIL, GROUP_MEMBER_LIST, GROUP_REQ_LIST, USER_INFO, ApiCall
from worker68.protocol.values import read_id

Needs = Literal["nothing", "group", "send"]

#: The client itself says 0 after 15 s [seen].
VERDICT_SECONDS: Final = 17.0
SECOND_VERDICT_SECONDS: Final = 6.0
#: What the second client has to hear comes with what the first one hears.
ECHO_SECONDS: Final = 1.0


class Meaning(NamedTuple):
    """What an answer is in words, which statement it settles and how, and which settings follow."""

    words: str
    settles: str
    settings: str = ""


class Question(NamedTuple):
    """``answer`` returns a key of ``meanings``."""

    name: str
    asks: str
    needs: Needs
    answer: Callable[[Session], Awaitable[str]]
    meanings: Mapping[str, Meaning]


# -- asking


async def _pings(session: Session) -> str:
    return "yes" if await session.wire.ping(session.within(REPLY_SECONDS)) else "no"


async def _unknown_type(session: Session) -> str:
    return kind_of(await session.wire.ask("worker68Probe", {}, deadline=session.within(REPLY_SECONDS)))


async def _unknown_request(session: Session) -> str:
    return kind_of(await session.call(ApiCall("Worker68Probe", USER_INFO.path)))


async def _first_page(session: Session) -> str:
    zero, one = await asyncio.gather(
        *(session.call(GROUP_REQ_LIST, {"pageNum": number, "pageSize": 100}) for number in (0, 1))
    )
    if one is None or zero is None:
        return "silence"
    if not (is_success(zero) and is_success(one)):
        return "from 0" if is_success(zero) else "from 1" if is_success(one) else "neither"
    return "from 0" if field_in(zero, "groupReqs") and not field_in(one, "groupReqs") else "both"


async def _mute_times(session: Session) -> str:
    members = await session.call(GROUP_MEMBER_LIST, {"groupId": session.group, "pageNum": 1, "pageSize": 100})
    if members is None or not is_success(members):
        return "no members"
    listed = field_in(members, "members")
    uids = [read_id(field_of(field_of(one, "user"), "uid")) for one in listed] if isinstance(listed, list) else []
    for uid in [uid for uid in uids if uid not in (None, session.own_uid)][:3]:
        reply = await session.call(CONTACTS_DETAIL, {"targetUid": uid, "groupId": session.group})
        if reply is None or not is_success(reply):
            return "error"
        if field_of(field_in(reply, "contactsDetailBase"), "groupShutupTime") is not None:
            return "there"
    return "left out"


async def _reply_to_send(session: Session) -> str:
    seen = await send(session, 11, VERDICT_SECONDS)
    return kind_of(seen.reply)


async def _eleven_digits(session: Session) -> str:
    return kind_of_id(session.sent[11])


async def _twelve_digits(session: Session) -> str:
    if kind_of(session.sent[11].reply) == "error":
        return "refused"
    return kind_of_id(await send(session, 12, SECOND_VERDICT_SECONDS))


async def _pending_echo(session: Session) -> str:
    if kind_of(session.sent[11].reply) == "error":
        return "refused"
    return "yes" if any(seen.pending_echo for seen in session.sent.values()) else "no"


async def _batches(session: Session) -> str:
    forms = session.wire.batch_forms
    return "both" if len(forms) == 2 else next(iter(forms), "no")


async def _second_client(session: Session) -> str:
    """The last question: it may cost the first connection."""
    try:
        second = await connect(session.wire.url, 2, session.wire.tap, session.within(REPLY_SECONDS).remaining() or 0.1)
    except ProbeFailed:
        return "refused"
    try:
        hello = await second.wait_for(lambda frame: frame.get("message") == "Hello", session.within(REPLY_SECONDS))
        reply = await session.wire.ask("getApiUrl", deadline=session.within(REPLY_SECONDS))
        if session.wire.lost is not None:
            return "first lost"
        if hello is None or reply is None or second.lost is not None:
            return "second lost"
        heard = await second.wait_for(lambda frame: frame.get("id") == reply["id"], session.within(ECHO_SECONDS))
        return "all" if heard is not None else "asker"
    finally:
        second.close()


# -- the table

_NO_SELF: Final = Meaning("the bridge refuses messages to oneself", "nothing")

QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "pings",
        "Are WebSocket pings answered?",
        "nothing",
        _pings,
        {
            "yes": Meaning("yes", "[open] whether pings are answered: they are"),
            "no": Meaning("no", "[open] whether pings are answered: they are not, and frames alone show that it lives"),
        },
    ),
    Question(
        "unknown type",
        "What does a frame of an unknown type do?",
        "nothing",
        _unknown_type,
        {
            "silence": Meaning("nothing", "such a frame is never answered: a silence may mean that nothing was done"),
            "error": Meaning("an error", "such a frame is answered with an error"),
            "reply": Meaning("a reply", "such a frame is answered as if it were known: a reply alone proves nothing"),
        },
    ),
    Question(
        "unknown request",
        "What does a request do whose type the client has no message for?",
        "nothing",
        _unknown_request,
        {
            "silence": Meaning(
                "nothing",
                "[seen] it is never answered: so it is",
                "a wrong type costs REPLY_TIMEOUT: keep ALLOWED_PATHS to what is known",
            ),
            "error": Meaning("an error", "[seen] it is never answered: not so"),
            "reply": Meaning("a reply", "[seen] it is never answered: not so, the path alone decides"),
        },
    ),
    Question(
        "pages",
        "Do the pages of GroupReqList start at 1?",
        "nothing",
        _first_page,
        {
            "from 1": Meaning(
                "page 0 fails, page 1 does not", "[doc/seen] page 0 answers 300, pages start at 1: so it is"
            ),
            "from 0": Meaning(
                "page 1 fails, page 0 does not", "[doc/seen] pages start at 1: not so, sync_group_requests cannot work"
            ),
            "both": Meaning("both are answered", "[doc/seen] page 0 answers 300: not so"),
            "neither": Meaning(
                "both fail",
                "nothing; the call may be broken as a whole, or the service busy: ask again later",
                "without sync_group_requests: ALLOWED_TASKS",
            ),
            "silence": Meaning("no reply", "nothing; ask again later"),
        },
    ),
    Question(
        "mute times",
        "Does ContactsDetail with a groupId say groupShutupTime?",
        "group",
        _mute_times,
        {
            "there": Meaning("yes", "[seen] a member's mute can be read back: so it is"),
            "left out": Meaning(
                "not for these members",
                "[seen] it is left out for one who is not muted: not refuted. Mute a member of the test group, and ask again",
            ),
            "error": Meaning("the call fails", "[seen] a member's mute can be read back: not so"),
            "no members": Meaning("the group's members cannot be read", "nothing; is the account in this group?"),
        },
    ),
    Question(
        "reply to a send",
        "Does sendMsg get a reply?",
        "send",
        _reply_to_send,
        {
            "reply": Meaning(
                "yes",
                "[open] the direct reply to sendMsg: it comes. It means accepted by the bridge, no more",
                "CONFIRM=reply would work; verdict proves more",
            ),
            "silence": Meaning(
                "no",
                "[open] the direct reply to sendMsg: none comes",
                "CONFIRM must not be reply: every send would end in doubt",
            ),
            "error": _NO_SELF,
        },
    ),
    Question(
        "eleven digits",
        "Is a custom_msg_id of eleven digits given back?",
        "send",
        _eleven_digits,
        {
            "given back": Meaning(
                "yes", "[doc] custom_msg_id ties a verdict to its send: so it does", "VERDICT_MATCH=auto or id"
            ),
            "another": Meaning(
                "the bridge makes its own",
                "[doc] a build that does not know the field makes an id of its own: this is one",
                "VERDICT_MATCH=auto or chat; one send per chat at a time",
            ),
            "no verdict": Meaning(
                "no verdict came",
                "[doc] a verdict event follows each send: not this one",
                "CONFIRM=verdict would leave each send in doubt",
            ),
            "refused": _NO_SELF,
        },
    ),
    Question(
        "twelve digits",
        "Is a custom_msg_id of twelve digits given back?",
        "send",
        _twelve_digits,
        {
            "given back": Meaning("yes", "[doc] eleven digits, or twelve as in the examples: twelve work too"),
            "another": Meaning("the bridge makes its own", "[doc] eleven digits, or twelve: twelve are not given back"),
            "no verdict": Meaning("no verdict came", "[doc] eleven digits, or twelve: twelve are not known to work"),
            "refused": _NO_SELF,
        },
    ),
    Question(
        "pending echo",
        "Is a message shown at once, with readStatus -1?",
        "send",
        _pending_echo,
        {
            "yes": Meaning("yes", "[seen] the -1 echo shows that the client has taken the frame: so it does"),
            "no": Meaning("no", "[seen] the -1 echo: none comes, so that none came says nothing about a send"),
            "refused": _NO_SELF,
        },
    ),
    Question(
        "arrays",
        "Do events come several in one frame?",
        "nothing",
        _batches,
        {
            "no": Meaning(
                "not in this minute", "[seen] newer builds gather events: not refuted, too little may have happened"
            ),
            "array": Meaning("as an array", "[seen] newer builds gather events, the form is [open]: an array"),
            "operator": Meaning(
                "as __batch__", "[seen] newer builds gather events, the form is [open]: the operator __batch__"
            ),
            "both": Meaning("in both forms", "[seen] newer builds gather events, the form is [open]: both"),
        },
    ),
    Question(
        "second client",
        "Do replies reach a second client?",
        "nothing",
        _second_client,
        {
            "asker": Meaning("no, only the one that asked", "[open] whether replies go to all clients: they do not"),
            "all": Meaning("yes, they go to all", "[open] whether replies go to all clients: they do"),
            "refused": Meaning(
                "a second client is not let in", "[open] whether the bridge accepts several: it does not"
            ),
            "first lost": Meaning(
                "the first client loses its connection",
                "[open] whether the bridge accepts several: a new one takes the place of the old one",
                "nothing else may connect to this bridge while a worker does",
            ),
            "second lost": Meaning(
                "the second client hears nothing", "[open] whether the bridge accepts several: hardly"
            ),
        },
    ),
)

#: These may be asked at once; the others one by one, in the order of the table.
AT_ONCE: Final = ("pings", "unknown type", "unknown request", "pages", "mute times")
