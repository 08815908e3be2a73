"""A reply in words: one line that says how a job ended. Short: lists as their lengths, long texts cut."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from worker68.cli.output import printable, show_time

#: A text of a result is cut after this.
TEXT_LENGTH: Final = 60
#: And JSON after this, of whatever form.
JSON_LENGTH: Final = 200
#: Fields of a person or a group that a line does without.
_LEFT_OUT: Final = {"icon", "alias", "created_at"}


def describe(reply: dict[str, Any]) -> str:
    """Return how the job ended and why, in one line."""
    status = str(reply["status"]).replace("_", " ")
    attempts = reply["attempts"]
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    seconds = (_time(reply["finished_at"]) - _time(reply["received_at"])).total_seconds()
    said = describe_end(reply)
    return printable(f"{status}{f': {said}' if said else ''} ({tries}, {seconds:.1f} s)")


def describe_end(reply: dict[str, Any]) -> str:
    """Return what was done, or why not; and both where a change was made and its announcement was not."""
    done = describe_result(reply["result"])
    why = describe_error(reply["error"]) if reply["error"] else reply.get("reason")
    if not why:
        return done
    return f"{why}; done before: {done}" if done else str(why)


def describe_error(error: dict[str, Any]) -> str:
    """Return the code, the bridge's own code, and the message."""
    code = error["code"]
    if "bridge_code" in error:
        code = f"{code} {error['bridge_code']}"
    return f"{code}: {error['message']}"


def describe_result(result: dict[str, Any] | None) -> str:
    """Return what was done: for a send its message id and time, for anything else its fields."""
    if not result:
        return ""
    if "custom_msg_id" in result:
        number = result.get("message_id")
        when = show_time(_time(result["sent_at"])) if result.get("sent_at") else None
        return (f"message {number}" if number else "sent") + (f" at {when} UTC" if when else "")
    if set(result) == {"data"}:
        return f"data {shorten(msgspec.json.encode(result['data']).decode(), JSON_LENGTH)}"
    return ", ".join(
        _fact(name, value) for name, value in result.items() if value is not None and name not in _LEFT_OUT
    )


def shorten(text: str, length: int) -> str:
    """Return the text, cut where it is longer than that many characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def _fact(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    match value:
        case True:
            return words
        case False:
            return f"not {words}"
        case list():
            return f"{len(value)} {words}"
        case dict() if "custom_msg_id" in value:
            return f"{words}: {describe_result(value)}"
        case dict():
            return describe_result(value)
        case float():
            return f"{words} {value:.1f} s"
        case str() if name != "note":
            return f"{words} {shorten(value, TEXT_LENGTH)}"
    return f"{words} {value}"


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
