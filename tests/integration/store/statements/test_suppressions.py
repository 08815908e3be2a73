"""The do-not-contact list names a chat of one account, and bars the jobs that would send to it and no others."""

from __future__ import annotations

from sqlalchemy import select

from tests.parts.jobs import CHAT, MUTE, SYNC, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.job import Job
from worker68.store.statements.suppressions import ChatKey, find_barred, find_suppressed, is_suppressed
from worker68.store.tables import jobs

MUTE_GROUP = "worker68.mute_group"


def suppressed(ledger: Ledger, *chats: ChatKey) -> set[ChatKey]:
    return ledger.run(lambda connection: find_suppressed(connection, chats))


def barred(ledger: Ledger, *waiting: Job) -> set[int]:
    return ledger.run(lambda connection: find_barred(connection, waiting))


def test_a_chat_is_listed_by_its_account_type_and_id(ledger: Ledger) -> None:
    ledger.suppress("group", 5)
    ledger.suppress("friend", 2**63 - 1, "other")
    listed: set[ChatKey] = {("main", "group", 5), ("other", "friend", 2**63 - 1)}
    others: set[ChatKey] = {
        *(("main", "friend", 5), ("other", "group", 5), ("main", "group", 6)),
        *(("other", "friend", 2**63 - 2), ("main", "friend", 2**63 - 1)),
    }
    assert suppressed(ledger, *listed, *others) == listed
    assert suppressed(ledger, *others) == set()
    assert suppressed(ledger) == set()


def test_the_condition_holds_for_rows_of_a_listed_chat(ledger: Ledger) -> None:
    listed, *_ = ledger.arrive(
        message(),
        message(kwargs=send_fields(chat=CHAT | {"type": "friend"})),
        message(kwargs=send_fields(account="other")),
        message(SYNC, {}),
    )
    ledger.suppress("group", 389284)
    rows = select(jobs.c.seq).where(is_suppressed(jobs.c.account, jobs.c.chat_type, jobs.c.chat_id))
    assert ledger.run(lambda connection: list(connection.scalars(rows))) == [listed.seq]


def test_only_a_job_that_has_a_message_to_send_is_barred(ledger: Ledger) -> None:
    send, announced, *others = ledger.arrive(
        message(),
        message(MUTE_GROUP, {"group_id": 389284}),
        message(MUTE_GROUP, {"group_id": 389284, "announce": False}),
        message(MUTE, mute_fields()),
        message(SYNC, {}),
        message(kwargs=send_fields(chat=CHAT | {"id": 5})),
    )
    assert barred(ledger, send, announced, *others) == set()
    ledger.suppress("group", 389284)
    assert barred(ledger, send, announced, *others) == {send.seq, announced.seq}
    assert barred(ledger, *others) == set()
    assert barred(ledger) == set()


def test_the_list_forbids_what_would_announce_and_nothing_else(ledger: Ledger) -> None:
    ledger.suppress("group", 389284)
    announced = message(MUTE_GROUP, {"group_id": 389284}, task_id="announced")
    silent = message(MUTE_GROUP, {"group_id": 389284, "announce": False}, task_id="silent")
    (job,) = ledger.arrive(announced, silent)
    assert ledger.told() == ["announced: suppressed"]
    assert (job.task_id, job.custom_msg_id) == ("silent", None)
