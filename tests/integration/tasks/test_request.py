"""``worker68.request`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, error, result
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain
from worker68.simulator import Simulator
from worker68.simulator.population import OWNED_GROUP


def test_gives_the_data_as_the_bridge_gave_it(simulated_link: Link) -> None:
    given = act(simulated_link, "request", type="GroupDetail", path="/group/groupDetail", data={"groupId": OWNED_GROUP})
    assert result(given)["data"]["group"]["groupId"] == str(OWNED_GROUP)


def test_bears_the_proto_type(simulated_link: Link, simulated: Simulator) -> None:
    data = {"groupId": OWNED_GROUP, "pageSize": 10, "pageNum": 1}
    act(
        simulated_link,
        "request",
        type="GroupMemberList",
        path="/group/groupMemberListV2",
        data=data,
        proto_type="group",
    )
    assert simulated.received[-1].frame["data"]["protoType"] == "group"


def test_a_documented_one_may_be_repeated(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.silence.set("UserInfo", 1)
    assert isinstance(
        act(simulated_link, "request", reply_timeout=0.5, type="UserInfo", path="/user/userInfo"), TryAgain
    )


def test_an_unknown_one_that_is_not_answered_is_in_doubt(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.silence.set("Pay", 1)
    finding = act(simulated_link, "request", reply_timeout=0.5, type="Pay", path="/wallet/pay", data={"amount": 1})
    assert isinstance(finding, Outcome)
    assert (finding.status, error(finding)[0]) == (Status.IN_DOUBT, ErrorCode.NO_VERDICT)


def test_an_unknown_one_that_is_told_busy_is_not_made_again(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.busy_reads.set(1)
    assert error(act(simulated_link, "request", type="Pay", path="/wallet/pay")) == (ErrorCode.BUSY, 300)
