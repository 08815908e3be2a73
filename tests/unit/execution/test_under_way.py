"""Jobs under way are counted: the room that they take in the worker, their kinds, and the sends that keep another one waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parts.jobs import SYNC, job, mute, send
from worker68.execution import reasons
from worker68.execution.under_way import Capacity, UnderWay
from worker68.jobs.fields import Chat

CHAT, OTHER_CHAT = Chat("group", 1), Chat("group", 2)
RESTART = "worker68.restart_client"


@pytest.fixture
def capacity() -> Capacity:
    return Capacity(10)


@pytest.fixture
def under_way(capacity: Capacity) -> UnderWay:
    return UnderWay(capacity)


def test_a_job_takes_room_from_its_begin_to_its_end(under_way: UnderWay, capacity: Capacity) -> None:
    first, second = send(1), mute(2)
    under_way.add(first)
    under_way.add(second)
    assert ([*under_way], len(under_way), under_way.occupied, capacity.free) == ([first, second], 2, 2, 8)
    assert under_way.pop(1) is first
    assert (1 in under_way, 2 in under_way, under_way.occupied, capacity.free) == (False, True, 1, 9)
    assert under_way.pop(1) is None
    assert (under_way.occupied, capacity.free) == (1, 9)


def test_accounts_share_the_room_of_the_worker(capacity: Capacity) -> None:
    one, other = UnderWay(capacity), UnderWay(capacity)
    one.add(send(1))
    other.add(send(2))
    other.add(send(3))
    assert (one.occupied, other.occupied, capacity.free) == (1, 2, 7)


def test_what_only_waits_for_its_end_to_be_written_down_takes_no_room(under_way: UnderWay, capacity: Capacity) -> None:
    under_way.add(send(1))
    for seq in (1, 1, 99):
        under_way.make_room(seq)
    assert (len(under_way), under_way.occupied, capacity.free) == (1, 0, 10)
    assert under_way.has_send_to(CHAT), "it is still under way"
    under_way.pop(1)
    assert (len(under_way), under_way.occupied, capacity.free) == (0, 0, 10)
    under_way.add(send(1))
    assert (len(under_way), under_way.occupied, capacity.free) == (1, 1, 9), "its next attempt takes room again"


def test_reads_and_what_lets_nothing_run_beside_it_are_counted(under_way: UnderWay) -> None:
    for added in (job(1, SYNC), job(2, SYNC), job(3, RESTART), send(4), mute(5)):
        under_way.add(added)
    assert (under_way.reads, under_way.exclusive) == (2, 1)
    for seq in (1, 3, 4):
        under_way.pop(seq)
    assert (under_way.reads, under_way.exclusive) == (1, 0)


def test_sends_are_known_by_their_chat(under_way: UnderWay) -> None:
    for added in (send(1), send(2), mute(3, group=2)):
        under_way.add(added)
    assert [under_way.has_send_to(chat) for chat in (CHAT, OTHER_CHAT)] == [True, False], "a mute is no send"
    under_way.pop(1)
    assert under_way.has_send_to(CHAT)
    under_way.pop(2)
    assert not under_way.has_send_to(CHAT)


def test_a_job_leaves_as_what_it_was_when_it_came(under_way: UnderWay) -> None:
    """The change of a mute is no send, and its announcement is one."""
    change = job(1, "worker68.mute_group")
    assert change.chat is not None
    under_way.add(change)
    assert not under_way.has_send_to(change.chat)
    assert under_way.pop(1) is change
    under_way.add(replace(change, step=1))
    assert under_way.has_send_to(change.chat)
    under_way.pop(1)
    assert not under_way.has_send_to(change.chat)


def test_where_the_chat_must_tell_verdicts_apart_a_send_waits_for_the_one_before_it(under_way: UnderWay) -> None:
    under_way.add(send(1))
    under_way.add(mute(2, group=2))
    why = under_way.why_not_send(CHAT, one_each_chat=True)
    assert why is not None
    assert why.startswith(reasons.behind(["job-1"]))
    assert under_way.why_not_send(OTHER_CHAT, one_each_chat=True) is None
    assert under_way.why_not_send(CHAT, one_each_chat=False) is None


class TestOneSend:
    """While new sends go one at a time, whatever their chats."""

    @pytest.fixture
    def under_way(self, capacity: Capacity) -> UnderWay:
        """One with a send from before that."""
        under_way = UnderWay(capacity)
        under_way.add(send(1))
        under_way.limit_sends(True)
        return under_way

    def test_those_from_before_and_what_is_no_send_hold_nothing_up(self, under_way: UnderWay) -> None:
        under_way.add(mute(2))
        under_way.add(job(3, SYNC))
        assert (under_way.one_send, under_way.holds_sends) == (True, False)
        assert under_way.why_not_send(OTHER_CHAT, one_each_chat=False) is None

    def test_a_new_one_holds_the_next_up_until_it_has_left(self, under_way: UnderWay) -> None:
        under_way.add(send(4, chat=4))
        under_way.limit_sends(True)
        held = [under_way.holds_sends]  # asked for again it is still new
        why = under_way.why_not_send(OTHER_CHAT, one_each_chat=False)
        assert why == f"{reasons.behind(['job-4'])}; {reasons.ONE_SEND}"
        under_way.pop(4)
        assert [*held, under_way.holds_sends] == [True, False]
        assert under_way.why_not_send(OTHER_CHAT, one_each_chat=False) is None

    def test_one_from_before_that_comes_again_is_new(self, under_way: UnderWay) -> None:
        under_way.pop(1)
        held = [under_way.holds_sends]
        under_way.add(send(1))
        assert [*held, under_way.holds_sends] == [False, True]

    def test_all_may_start_once_it_is_over(self, under_way: UnderWay) -> None:
        under_way.add(send(4, chat=4))
        under_way.limit_sends(False)
        assert (under_way.one_send, under_way.holds_sends) == (False, False)
        assert under_way.why_not_send(OTHER_CHAT, one_each_chat=False) is None
