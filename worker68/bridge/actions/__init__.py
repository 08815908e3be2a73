"""The actions: from a job to frames at the bridge, and from what was seen to what it proves.

In: a job's turn. Out: an outcome, another try, or the list that a sync saw. Never: SQL, or the choice of when. One action for each
step of each task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from worker68.bridge.actions import changes, lists, online, restart, sends, single
from worker68.bridge.actions.turn import Turn
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.snapshot import ListSeen

__all__ = ["ACTIONS", "READ_BACK", "Action", "Finding"]

Finding = Outcome | TryAgain | ListSeen
Action = Callable[[Turn], Awaitable[Finding]]

#: For each task the action of each of its steps, in their order.
ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "worker68.send_message": (sends.send_message,),
    "worker68.send_file": (sends.send_file,),
    "worker68.set_group_notice": (changes.set_group_notice, sends.announce_notice),
    "worker68.mute_group": (changes.mute_group, sends.announce_mute),
    "worker68.mute_member": (changes.mute_member,),
    "worker68.sync_profile": (single.sync_profile,),
    "worker68.sync_contacts": (lists.sync_contacts,),
    "worker68.sync_contact": (single.sync_contact,),
    "worker68.sync_friend_requests": (lists.sync_friend_requests,),
    "worker68.sync_groups": (lists.sync_groups,),
    "worker68.sync_group": (single.sync_group,),
    "worker68.sync_group_members": (lists.sync_group_members,),
    "worker68.sync_group_requests": (lists.sync_group_requests,),
    "worker68.sync_online_status": (online.sync_online_status,),
    "worker68.get_api_url": (single.get_api_url,),
    "worker68.request": (single.request,),
    "worker68.restart_client": (restart.restart_client,),
}

#: Changes that the protocol shows: what returns the success of one that was made, whatever was answered, else None.
READ_BACK: Mapping[str, Callable[[Turn], Awaitable[Outcome | None]]] = {
    "worker68.set_group_notice": changes.is_notice_set,
    "worker68.mute_group": changes.is_group_muted,
}
