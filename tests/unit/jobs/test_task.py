"""What each task is: which steps it has, and what may be repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.parts.jobs import LEAST_FIELDS, job
from worker68.jobs.permission import CONTRACT_TASKS
from worker68.jobs.task import Nature
from worker68.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_only_what_may_not_be_repeated_is_a_send(task: str) -> None:
    made = job(1, task)
    steps = made.kind.steps_of(made.fields)
    assert all(step.nature is Nature.SEND and step.limit == "send" for step in steps if step.message)
    assert made.kind.sends(made.fields) == any(step.message for step in steps)
    assert all(step.message == (made.chat is not None) for step in steps[-1:] if step.nature is Nature.SEND)
    assert task in CONTRACT_TASKS


@pytest.mark.parametrize("task", ["worker68.set_group_notice", "worker68.mute_group"])
def test_a_change_that_is_announced_has_two_steps(task: str) -> None:
    announced, silent = job(1, task), job(2, task, {**LEAST_FIELDS[task], "announce": False})
    assert [step.nature for step in announced.kind.steps_of(announced.fields)] == [Nature.CHANGE, Nature.SEND]
    assert [step.nature for step in silent.kind.steps_of(silent.fields)] == [Nature.CHANGE]
    assert (announced.now.limit, announced.is_last_step) == ("moderate", False)
    further = replace(announced, step=1)
    assert (further.now.limit, further.now.message, further.is_last_step) == ("send", True, True)
    assert not silent.kind.sends(silent.fields)


@pytest.mark.parametrize(
    ("type_", "path", "nature"),
    [
        ("UserInfo", "/user/userInfo", Nature.READ),
        ("GroupUpdate", "/group/groupUpdate", Nature.CHANGE),
        ("UserInfo", "/group/groupUpdate", Nature.SEND),
        ("Pay", "/wallet/pay", Nature.SEND),
    ],
)
def test_a_call_in_own_words_is_repeatable_only_where_it_is_documented(type_: str, path: str, nature: Nature) -> None:
    made = job(1, "worker68.request", {"type": type_, "path": path})
    assert (made.now.nature, made.now.message, made.chat) == (nature, False, None)


def test_reads_in_own_words_wait_for_their_like_only() -> None:
    def lane(path: str, **data: Any) -> str:
        return job(1, "worker68.request", {"type": path.split("/")[-1], "path": path, "data": data}).lane

    detail = "/contacts/ContactsDetail"
    assert lane(detail, targetUid=1) == lane(detail, targetUid=2)  # not documented: one after the other
    known = {"type": "ContactsDetail", "path": "/contacts/contactsDetail"}
    lanes = {job(1, "worker68.request", {**known, "data": {"targetUid": uid}}).lane for uid in (1, 2)}
    assert len(lanes) == 2
