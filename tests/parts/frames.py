"""The known frames of the bridge, documented and seen, and how to compare one with what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final


def _read(name: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = json.loads(
        (Path(__file__).parents[1] / "fixtures/protocol" / name).read_text(encoding="utf-8")
    )
    return frames


#: By their names in ``seen.json``: frames in the shape that the client's source shows.
SEEN: Final = {frame["name"]: frame for frame in _read("seen.json")}

#: By their names in ``frames.json``: what a client writes.
DOCUMENTED_REQUESTS: Final[dict[str, dict[str, Any]]] = {
    frame["name"]: frame["request"] for frame in _read("frames.json")
}

#: What a client writes, as documented or as seen.
KNOWN_REQUESTS: Final[dict[str, dict[str, Any]]] = DOCUMENTED_REQUESTS | {
    name: frame["request"] for name, frame in SEEN.items() if "request" in frame
}


def plain(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a frame without what differs from one to the next: its id, the API's address, and our name for a message."""
    plain: dict[str, Any] = json.loads(
        json.dumps({key: value for key, value in frame.items() if key not in ("id", "custom_msg_id")})
    )
    data = plain.get("data", {})
    data.pop("custom_msg_id", None)
    if "url" in data:
        data["url"] = "/" + data["url"].split("/", 3)[3]
    return plain
