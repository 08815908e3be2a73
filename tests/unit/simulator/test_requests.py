"""What becomes of a request: the call that it names, the messages of a send, an error in words; or it is no request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.simulator.asking import ask, call, code_of, error_of
from worker68.simulator import build_world, endpoints
from worker68.simulator.population import (
    ACCOUNT,
    FRIEND,
    MANAGED_GROUP,
    OWNED_GROUP,
    PLAIN_GROUP,
    STRANGER,
)
from worker68.simulator.requests import Answer, Kind, Malformed, read_request, respond
from worker68.simulator.world import FOR_EVER, World


def send(world: World, chat_id: int, *contents: str, kind: Kind = "new", **extra: Any) -> Answer:
    chat_type = "friend" if chat_id in world.people else "group"
    items = [{"type": "text", "values": {"chatType": 0, "content": content}} for content in contents]
    data = {"id": chat_id, "type": chat_type, "list": items, "quoteInfo": None, **extra}
    return respond(world, read_request({"id": "1", "type": "sendMsg", "data": data}), kind=kind)


class TestCalls:
    def test_member_calls_need_their_proto_type(self, world: World) -> None:
        assert error_of(call(world, "GroupMemberList", proto="", groupId=MANAGED_GROUP)) == 400

    def test_wrong_path_or_base(self, world: World) -> None:
        def call_at(url: str, *, check_api_base: bool = False) -> Answer:
            data = {"type": "UserInfo", "url": url}
            return respond(
                world, read_request({"id": "1", "type": "request", "data": data}), check_api_base=check_api_base
            )

        assert error_of(call_at("https://webbiz.example/user/other")) == 404
        assert error_of(call_at("http://[")) == 404
        assert code_of(call_at("https://webbiz.example/user/userInfo")) == 200
        assert error_of(call_at("https://webbiz.example/user/userInfo", check_api_base=True)) == 404
        assert code_of(call_at(world.api_url + "/user/userInfo", check_api_base=True)) == 200

    @pytest.mark.parametrize("frame", [{"type": "other"}, {"type": "request", "data": {"type": "Other"}}])
    def test_unknown_type_is_never_answered(self, world: World, frame: dict[str, Any]) -> None:
        assert respond(world, read_request({"id": "1", **frame})) == Answer(None)

    def test_restart_asks_for_a_restart(self, world: World) -> None:
        assert ask(world, {"id": "1", "type": "restart68"}) == Answer(None, restart=True)


class TestSends:
    def test_new_bridge_gives_the_callers_id_back(self, world: World) -> None:
        assert send(world, FRIEND, "x", custom_msg_id="12345678901").messages[0].custom_msg_id == "12345678901"
        assert send(world, FRIEND, "x", custom_msg_id=12345678901).messages[0].custom_msg_id == "12345678901"

    def test_old_bridge_makes_one_of_its_own(self, world: World) -> None:
        made = send(world, FRIEND, "x", kind="old", custom_msg_id="12345678901").messages[0].custom_msg_id

        assert made != "12345678901"
        assert len(made) == 11
        assert made[0] != "0"

    def test_several_items_become_several_messages(self, world: World) -> None:
        messages = send(world, MANAGED_GROUP, "one", "two", custom_msg_id="12345678901").messages

        assert [message.text for message in messages] == ["one", "two"]
        assert messages[0].custom_msg_id == "12345678901" != messages[1].custom_msg_id
        assert messages[0].message_id != messages[1].message_id

    def test_file_has_its_id_at_the_top_level(self, world: World) -> None:
        data = {"file": "C:/b.mp4", "type": "group", "id": MANAGED_GROUP}
        frame = {"id": "1", "type": "sendFile", "data": data, "custom_msg_id": 12345678901}

        (message,) = respond(world, read_request(frame)).messages
        assert (message.text, message.custom_msg_id, message.content_type) == ("C:/b.mp4", "12345678901", 7)

    def test_backslash_n_is_a_line_break(self, world: World) -> None:
        assert send(world, FRIEND, "a\\nb").messages[0].text == "a\nb"

    @pytest.mark.parametrize("chat_id", [1, STRANGER])
    def test_unknown_chat_is_an_error(self, world: World, chat_id: int) -> None:
        answer = send(world, chat_id, "x")

        assert error_of(answer) == 404
        assert answer.messages == ()

    @pytest.mark.parametrize("data", [None, {}, {"id": FRIEND, "type": "friend", "list": []}, {"id": "x"}])
    def test_send_that_makes_no_sense_is_an_error(self, world: World, data: object) -> None:
        assert error_of(respond(world, read_request({"id": "1", "type": "sendMsg", "data": data}))) == 400

    def test_mute_stops_the_plain_member_only(self, world: World) -> None:
        for group in world.groups.values():
            group.muted = True

        stopped = {one: send(world, one, "x").messages[0].refused for one in (OWNED_GROUP, MANAGED_GROUP, PLAIN_GROUP)}
        assert stopped == {OWNED_GROUP: False, MANAGED_GROUP: False, PLAIN_GROUP: True}

    def test_muted_account_is_stopped(self, world: World) -> None:
        world.groups[MANAGED_GROUP].members[ACCOUNT].muted_until_ms = FOR_EVER

        assert send(world, MANAGED_GROUP, "x").messages[0].refused
        assert not send(world, FRIEND, "x").messages[0].refused


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["id", "type", "list", "file", "groupId", "op", "groupParam", "uids", "pageNum", "pageSize"]
)
service_calls = st.builds(
    lambda name, path, proto, data: {"type": name, "url": f"http://h{path}", "protoType": proto, "data": data},
    st.sampled_from(sorted(endpoints.ENDPOINTS)),
    st.sampled_from([endpoint.path for endpoint in endpoints.ENDPOINTS.values()]) | st.text(max_size=5),
    st.just("group") | json_values,
    st.dictionaries(known_keys, st.just(MANAGED_GROUP) | json_values) | json_values,
)
frames = st.fixed_dictionaries(
    {
        "id": st.text(max_size=3),
        "type": st.sampled_from(["request", "getGroups", "sendMsg", "sendFile", "getApiUrl", "restart68", "other"]),
    },
    optional={
        "data": service_calls | st.dictionaries(known_keys, json_values) | json_values,
        "custom_msg_id": json_values,
    },
)


@given(frame=frames)
def test_no_request_can_raise(frame: dict[str, Any]) -> None:
    assert isinstance(respond(build_world(contacts=2, members=2), read_request(frame)), Answer)


@given(frame=json_values | st.dictionaries(st.sampled_from(["id", "type", "data"]), json_values))
def test_what_is_no_request_is_malformed(frame: object) -> None:
    try:
        request = read_request(frame)
    except Malformed:
        return
    assert isinstance(frame, dict)
    assert request.type == frame["type"]


@pytest.mark.parametrize("frame", [None, [], 68, "x", {}, {"id": "1"}, {"type": "sendMsg"}, {"id": None, "type": "x"}])
def test_malformed(frame: object) -> None:
    with pytest.raises(Malformed):
        read_request(frame)
