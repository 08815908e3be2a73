"""A reply in words: one line that says how a job ended."""

from __future__ import annotations

import datetime as dt
from typing import Any

from worker68.cli.output import printable, show_time


def describe(reply: dict[str, Any]) -> str:
    """Return how the job ended and why, in one line."""
    status = str(reply["status"]).replace("_", " ")
    attempts = reply["attempts"]
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    seconds = (_time(reply["finished_at"]) - _time(reply["received_at"])).total_seconds()
    said = describe_error(reply["error"]) if reply["error"] else describe_result(reply["result"])
    return printable(f"{status}{f': {said}' if said else ''} ({tries}, {seconds:.1f} s)")


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
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items() if value is not None)


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
