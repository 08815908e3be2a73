"""How else a bridge may write the same reply: numbers as strings, words as numbers, defaults left out.

In: a reply's body as the documented frames have it, the knobs. Out: the same said otherwise. ``Spelling`` is part of ``Faults``:
``simulator.faults.spelling.swapped_numbers = True``. Never: another meaning; an event; names, texts and other words of people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from worker68.simulator.knobs import switch
from worker68.simulator.shapes import Json
from worker68.simulator.world import Role

#: The keys of ids, times and amounts: some documented replies have numbers there, others strings of digits.
_NUMBERS: Final = frozenset(
    {
        *("uid", "id", "groupId", "hostId", "noticeId", "groupReqId", "groupHostUid"),
        *("createTime", "modifyTime", "updateTime", "lastUpdateTime", "releaseTime", "qrExpire"),
        *("memberCount", "score", "count"),
    }
)
#: The keys of ranks. A rank's word is in capitals, so that ``"type": "group"`` is none.
_RANKS: Final = frozenset({"type", "memberType"})


@dataclass(slots=True)
class Spelling:
    """The knobs. They hold for the replies of reads and changes, errors aside."""

    swapped_numbers: bool = switch(
        "ids, times and amounts are numbers where strings are documented, and strings where numbers are"
    )
    swapped_ranks: bool = switch(
        "memberType and a member's type are numbers where words are documented, and the reverse"
    )
    left_out_defaults: bool = switch("what is false, 0 or empty is left out, everywhere")
    left_out_mutes: bool = switch("a member who is not muted has no groupShutupTime, instead of -1")

    def write(self, body: Json) -> Json:
        """Return a reply's body in this spelling."""
        if not (self.swapped_numbers or self.swapped_ranks or self.left_out_defaults or self.left_out_mutes):
            return body
        respelt: Json = self._respell(body)
        return respelt

    def _respell(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._respell(one) for one in value]
        if not isinstance(value, dict):
            return value
        respelt = {key: self._respell(self._respell_field(key, one)) for key, one in value.items()}
        if self.left_out_mutes and respelt.get("groupShutupTime") in (-1, "-1"):
            del respelt["groupShutupTime"]
        if self.left_out_defaults:
            return {key: one for key, one in respelt.items() if one is not None and one not in (False, "", "0")}
        return respelt

    def _respell_field(self, key: str, value: Any) -> Any:
        if self.swapped_ranks and key in _RANKS:
            if isinstance(value, int):
                return Role(value).name
            if value in Role.__members__:
                return Role[value].value
        if self.swapped_numbers and key in _NUMBERS:
            if isinstance(value, int):
                return str(value)
            if isinstance(value, str) and value.isdecimal():
                return int(value)
        return value
