"""The demo's jobs of the kinds that are not among the ordinary ones: a file, announced changes, reads, a restart of the client."""

from __future__ import annotations

from worker68.cli.demo.jobs import DemoJob, friend
from worker68.cli.demo.stage import FILE_ROOT
from worker68.jobs import api
from worker68.jobs.outcome import ErrorCode, Status
from worker68.simulator.population import FRIEND, MANAGED_GROUP, OWNED_GROUP, PLAIN_GROUP


def jobs_of_other_kinds() -> list[DemoJob]:
    """Return one job of each kind, and one that the account's settings do not permit."""
    return [*_messages(), *_changes(), *_reads(), DemoJob("worker68.restart_client", {}, "the client restarts")]


def _messages() -> list[DemoJob]:
    return [
        DemoJob("worker68.send_file", {"chat": friend(FRIEND), "path": f"{FILE_ROOT}/price list.pdf"}, "a file"),
        DemoJob(
            "worker68.send_file",
            {"chat": friend(FRIEND), "path": f"{FILE_ROOT}/../private/keys.txt"},
            "a file from elsewhere",
            Status.FAILED,
            ErrorCode.NOT_PERMITTED,
        ),
    ]


def _changes() -> list[DemoJob]:
    """The announcements are messages of their own, after the change is made."""
    notice = "Open from 9 to 17.\nClosed on Friday."
    mute = {"group_id": OWNED_GROUP, "muted": True, "announcement_text": "Quiet, please, until nine."}
    return [
        DemoJob("worker68.set_group_notice", {"group_id": MANAGED_GROUP, "notice": notice}, "a notice, announced"),
        DemoJob("worker68.mute_group", mute, "a group's mute, announced"),
        DemoJob(
            "worker68.mute_group", {"group_id": OWNED_GROUP, "muted": False, "announce": False}, "its end, unannounced"
        ),
    ]


def _reads() -> list[DemoJob]:
    of_group = {"group_id": MANAGED_GROUP}
    detail = {"type": api.GROUP_DETAIL.type, "path": api.GROUP_DETAIL.path, "data": {"groupId": MANAGED_GROUP}}
    return [
        DemoJob("worker68.sync_profile", {}),
        DemoJob("worker68.sync_contacts", {}),
        DemoJob("worker68.sync_contact", {"user_id": FRIEND}),
        DemoJob("worker68.sync_friend_requests", {}),
        DemoJob("worker68.sync_group", of_group),
        DemoJob("worker68.sync_group_members", {"group_id": PLAIN_GROUP}),
        DemoJob("worker68.sync_group_requests", {}),
        DemoJob("worker68.sync_online_status", of_group),
        DemoJob("worker68.get_api_url", {}),
        DemoJob("worker68.request", detail),
    ]
