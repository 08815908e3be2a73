"""The record of a probe: each frame as a line of JSON, in a file that may be shown to others.

In: frames. Out: lines like ``{"at": 0.2, "connection": 1, "way": "in", "frame": {...}}``; ``at`` counts seconds from the start.
Names, texts and addresses are blanked unless the caller wants them: only what is known to be the protocol's own word, an id, a time
or a code is kept, so an unknown field is blanked too. Never: what a frame means. ``worker68 simulator --replay`` reads such a file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from worker68.cli.probe.wire import ProbeFailed
from worker68.clock import monotonic

BLANK: Final = "…"
HOST: Final = "https://blanked.example"

#: Keys whose texts are words of the protocol, or of the service about itself.
_WORDS: Final = frozenset(
    {
        *("type", "operator", "operatorType", "networkStatusType", "protoType", "notificationType", "memberType"),
        *("groupReqType", "groupReqStatus", "errorDesc", "errMsg"),
    }
)
#: Texts that are words of the protocol wherever they stand.
_KNOWN: Final = frozenset({"Hello", "success", "restarting"})
#: Keys of ids, times, amounts and codes.
_FIGURES: Final = re.compile(
    r"(?:^(?:id|uid|uids|op|time|count|score|pageNum|commonGroupNum|.*_id)|(?:Id|ID|Ids|Uid|Uids|Time|Count|Size|Status|Code|Type))$"
)
#: A number so small is neither a person nor an address.
_SMALL: Final = 10_000


def blank(value: Any, key: str = "") -> Any:
    """Return a frame, or a part of it, without names, texts and addresses."""
    if isinstance(value, dict):
        return {name: blank(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [blank(one, key) for one in value]
    if isinstance(value, str):
        return _blank_text(value, key)
    if isinstance(value, bool) or value is None:
        return value
    return value if abs(value) <= _SMALL or _FIGURES.search(key) else 0


def _blank_text(text: str, key: str) -> str:
    if text in _KNOWN or text == "" or key in _WORDS:
        return text
    if _FIGURES.search(key) and (text.lstrip("-").isdecimal() or (key == "id" and text.isascii())):
        return text
    parts = _split(text)
    if parts is not None and key in ("url", "data"):
        return HOST + parts  # the path of a call, or the API's base
    return BLANK


def _split(text: str) -> str | None:
    """Return the path of an address, None for what is none."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts.path if parts.scheme in ("http", "https") else None


class Record:
    """A file that gets each frame as it comes. Raise ``ProbeFailed`` where it cannot be written."""

    def __init__(self, path: Path, *, blanked: bool) -> None:
        self._blanked = blanked
        self._begun = monotonic()
        try:
            self._file = path.open("x", encoding="utf-8", buffering=1)
        except FileExistsError as error:
            raise ProbeFailed(f"{path} is there already: name another file") from error
        except OSError as error:
            raise ProbeFailed(f"{path} cannot be written: {error.strerror}") from error

    def note(self, connection: int, way: str, frame: Any) -> None:
        """Write a line. A frame that is no JSON is null."""
        kept = blank(frame) if self._blanked else frame
        line = {"at": round(monotonic() - self._begun, 3), "connection": connection, "way": way, "frame": kept}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()
