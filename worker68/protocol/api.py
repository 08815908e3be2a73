"""The calls of the service's HTTP API: their type, path and nature.

Those in ``DOCUMENTED`` are documented (PROTOCOL.md, Documented requests). The others are [seen]: for experimental tasks alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiCall:
    """One call. ``proto_type``: what the bridge wants beside the type of a call about a group's members. [doc]

    ``changes``: it changes something, always in a way that may be repeated.
    """

    type: str
    path: str
    proto_type: str | None = None
    changes: bool = False


USER_INFO = ApiCall("UserInfo", "/user/userInfo")
CONTACTS_LIST = ApiCall("ContactsList", "/contacts/contactsList")
CONTACTS_DETAIL = ApiCall("ContactsDetail", "/contacts/contactsDetail")
CONTACTS_APPLY_LIST = ApiCall("ContactsApplyList", "/contacts/contactsApplyList")
GROUP_REQ_LIST = ApiCall("GroupReqList", "/group/groupReqList")
GROUP_MEMBER_LIST = ApiCall("GroupMemberList", "/group/groupMemberListV2", proto_type="group")
GROUP_MEMBER_ONLINE = ApiCall("GroupMemberOnLineStatusList", "/group/groupMemberOnLineStatusList", proto_type="group")
GROUP_DETAIL = ApiCall("GroupDetail", "/group/groupDetail")
GROUP_UPDATE = ApiCall("GroupUpdate", "/group/groupUpdate", changes=True)
GROUP_MEMBER_SHUTUP = ApiCall("GroupMemberShutup", "/group/groupMemberShutup", changes=True)

#: They change who is in a group, and who is a friend. [seen]
GROUP_MEMBER = ApiCall("GroupMember", "/group/groupMember", changes=True)
GROUP_CHECK_JOIN = ApiCall("GroupCheckJoin", "/group/groupCheckJoin", changes=True)
GROUP_USER_CHECK_JOIN = ApiCall("GroupUserCheckJoin", "/group/groupUserCheckJoin", changes=True)
UPDATE_CONTACTS_APPLY = ApiCall("UpdateContactsApply", "/contacts/updateContactsApply", changes=True)

DOCUMENTED: dict[str, ApiCall] = {
    call.path: call
    for call in (
        USER_INFO,
        CONTACTS_LIST,
        CONTACTS_DETAIL,
        CONTACTS_APPLY_LIST,
        GROUP_REQ_LIST,
        GROUP_MEMBER_LIST,
        GROUP_MEMBER_ONLINE,
        GROUP_DETAIL,
        GROUP_UPDATE,
        GROUP_MEMBER_SHUTUP,
    )
}
