"""What the demo shows: a line for each job as it ends, and at the end the table and the sums.

In: endings. Out: standard output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from worker68.cli.demo.producer import Ending
from worker68.cli.output import STYLES, print_table, printable
from worker68.cli.replies import describe_end, describe_result

COLUMNS: Final = ("job", "status", "waited", "verdict", "reply")

#: What a bridge's verdict was, by the error of a send that had none that proves it.
_VERDICTS: Final = {"not_sent": "0 not sent", "refused": "none", "no_verdict": "none"}


def print_ending(console: Console, ending: Ending) -> None:
    """Print a line about a job that has ended now."""
    status = ending.reply["status"]
    line = Text(f"  {ending.waited:5.1f} s  ")
    line.append(f"{status:9}", style=STYLES.get(status, ""))
    line.append(f"  {printable(ending.job.label)}")
    console.print(line)


def print_endings(console: Console, endings: Sequence[Ending]) -> None:
    """Print the table: a row for each kind of ordinary jobs that went as expected, and one for each other job."""
    ordinary = [ending for ending in endings if not ending.job.title and ending.as_expected]
    others = [ending for ending in endings if ending.job.title or not ending.as_expected]
    print_table(COLUMNS, [*_sum_rows(ordinary), *map(_row, others)], console)


def count_statuses(endings: Iterable[Ending]) -> str:
    """Return how many jobs ended in which way, in words."""
    counts = Counter(str(ending.reply["status"]) for ending in endings)
    return ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.most_common())


def _sum_rows(endings: Iterable[Ending]) -> list[tuple[str, ...]]:
    by_task: dict[str, list[Ending]] = {}
    for ending in endings:
        by_task.setdefault(ending.job.task, []).append(ending)
    rows: list[tuple[str, ...]] = []
    for task, ones in by_task.items():
        waited = sorted(one.waited for one in ones)
        last = ones[-1].reply
        several = len(ones) > 1
        rows.append(
            (
                f"{len(ones)} x {task.removeprefix('worker68.')}",
                str(last["status"]),
                f"{waited[0]:.1f}-{waited[-1]:.1f} s" if several else f"{waited[0]:.1f} s",
                _verdict(last, task),
                f"{'the last one: ' if several else ''}{describe_result(last['result'])}",
            )
        )
    return rows


def _row(ending: Ending) -> tuple[str, ...]:
    reply = ending.reply
    return (
        ending.job.label,
        str(reply["status"]),
        f"{ending.waited:.1f} s",
        _verdict(reply, ending.job.task),
        describe_end(reply) or f"{reply['attempts']} attempts",
    )


def _verdict(reply: dict[str, Any], task: str) -> str:
    result = reply["result"] or {}
    if "custom_msg_id" in (result.get("announcement") or result):
        return "1 sent"
    return _VERDICTS.get((reply["error"] or {}).get("code", ""), "-") if task.endswith("send_message") else "-"
