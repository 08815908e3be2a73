"""``worker68.answer_group_request`` at a simulated bridge: as an auditor, as the one invited, and what is answered already."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tasks.acting import act, error, frames_of, look, result
from tests.parts.jobs import job
from tests.parts.turns import FreeContext, turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode, TryAgain
from worker68.simulator import Simulator, World
from worker68.simulator.population import ACCOUNT, FRIEND, MANAGED_GROUP, OPEN_REQUEST, OWNED_GROUP, PLAIN_GROUP


def answer(link: Link, request_id: int, *, accept: bool = True, context: FreeContext | None = None) -> Any:
    return act(link, "answer_group_request", context, request_id=request_id, accept=accept)


def read_back(link: Link, request_id: int, *, accept: bool = True) -> Any:
    return look(turn(link, "worker68.answer_group_request", request_id=request_id, accept=accept))


@pytest.mark.parametrize("accept", [True, False])
def test_an_auditor_lets_an_applicant_in_or_not(simulated_link: Link, simulated: Simulator, accept: bool) -> None:
    applicant, context = simulated.world.group_requests[0].uid, FreeContext()
    assert read_back(simulated_link, OPEN_REQUEST, accept=accept) is None
    assert result(answer(simulated_link, OPEN_REQUEST, accept=accept, context=context)) == {"accepted": accept}
    assert frames_of(simulated, "GroupCheckJoin") == [{"groupReqId": OPEN_REQUEST, "flag": accept}]
    assert (applicant in simulated.world.groups[OWNED_GROUP].members) is accept
    assert context.slots == ["moderate"], "the first slot was for the look at the list"
    assert context.calls == [job(1, "worker68.answer_group_request").now.call, "GroupCheckJoin"]
    assert result(read_back(simulated_link, OPEN_REQUEST, accept=accept)) == {"accepted": accept}
    assert read_back(simulated_link, OPEN_REQUEST, accept=not accept) is None


def test_the_one_invited_answers_for_itself(simulated_link: Link, simulated: Simulator) -> None:
    def invite(world: World) -> None:
        del world.groups[PLAIN_GROUP].members[ACCOUNT]
        world.invite_account(FRIEND, PLAIN_GROUP)

    simulated.change(invite)
    number = simulated.world.group_requests[0].request_id
    assert result(answer(simulated_link, number)) == {"accepted": True}
    assert frames_of(simulated, "GroupUserCheckJoin") == [{"groupReqId": number, "flag": True}]
    assert frames_of(simulated, "GroupCheckJoin") == []
    assert ACCOUNT in simulated.world.groups[PLAIN_GROUP].members


def test_a_host_judges_an_invitation_of_another_as_auditor(simulated_link: Link, simulated: Simulator) -> None:
    simulated.change(lambda world: world.add_group_request(OWNED_GROUP, FRIEND, 4_017_572, 3))
    number = simulated.world.group_requests[0].request_id
    assert result(answer(simulated_link, number)) == {"accepted": True}
    assert frames_of(simulated, "GroupCheckJoin") == [{"groupReqId": number, "flag": True}]


def test_what_is_answered_already_is_done_or_refused(simulated_link: Link, simulated: Simulator) -> None:
    result(answer(simulated_link, OPEN_REQUEST))
    assert result(answer(simulated_link, OPEN_REQUEST)) == {"accepted": True}
    assert error(answer(simulated_link, OPEN_REQUEST, accept=False)) == (ErrorCode.REFUSED, None)
    assert len(frames_of(simulated, "GroupCheckJoin")) == 1


def test_a_request_that_is_not_there_is_refused(simulated_link: Link, simulated: Simulator) -> None:
    finding = answer(simulated_link, 1)
    assert error(finding) == (ErrorCode.REFUSED, None)
    assert "no request 1" in finding.error.message
    simulated.faults.paging.unreadable = "no_uid"
    again = answer(simulated_link, 1)
    assert isinstance(again, TryAgain)
    assert (again.code, again.spent) == (ErrorCode.UNAVAILABLE, True)


def test_an_account_without_rights_is_refused(simulated_link: Link, simulated: Simulator) -> None:
    simulated.change(lambda world: world.ask_to_join(FRIEND, PLAIN_GROUP))
    number = simulated.world.group_requests[0].request_id
    assert error(answer(simulated_link, number)) == (ErrorCode.REFUSED, 1022)


def test_a_list_that_cannot_be_read_shows_nothing(simulated_link: Link, simulated: Simulator) -> None:
    simulated.change(lambda world: world.ask_to_join(FRIEND, MANAGED_GROUP))
    simulated.faults.busy_reads.set(1)
    assert isinstance(answer(simulated_link, OPEN_REQUEST), TryAgain)
    simulated.faults.refusals.set(1)
    assert read_back(simulated_link, OPEN_REQUEST) is None
