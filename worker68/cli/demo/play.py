"""The play of the demo: what is sent, what is shown, and whether it came out as it should.

In: how many jobs. Out: an exit code: 0, 1 with the reasons on standard error, or 128 + the signal that ended it. Never: a setting
of this machine's; anything left behind.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable
from typing import Final

import click
from rich.console import Console

from worker68.cli.demo.jobs import (
    DemoJob,
    instructive_jobs,
    jobs_of_other_kinds,
    jobs_without_verdict,
    ordinary_jobs,
)
from worker68.cli.demo.producer import DemoProducer, Ending
from worker68.cli.demo.show import count_statuses, print_ending, print_endings
from worker68.cli.demo.stage import LIMITS, VERDICT_TIMEOUT_SECONDS, Stage, forget_settings
from worker68.cli.output import open_console
from worker68.clock import Deadline, monotonic
from worker68.jobs.outcome import Status
from worker68.protocol.messages import wire_text
from worker68.simulator.server import Simulator

#: Some sixty jobs and a restart of the client take four seconds; the rest is for a crowded machine.
JOBS_SECONDS: Final = 30.0
#: The last jobs end when their verdict has not come.
DOUBT_SECONDS: Final = VERDICT_TIMEOUT_SECONDS + 10.0

#: Where no terminal says how wide it is: the reasons are folded, so that the table can be read as a table.
WIDTH: Final = 140


class Interruption:
    """Whether this process was asked to end (SIGINT, SIGTERM). To be made on the main thread.

    Noted when it comes, obeyed where nothing is half done: an exception out of a signal handler may strike anywhere, also while a
    lock of ``subprocess`` is held, which then is never released.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._note)

    def check(self) -> None:
        """End the process, by ``SystemExit``, with 128 + the signal if one has come."""
        if self._signal is not None:
            raise SystemExit(128 + self._signal)

    def _note(self, number: int, _frame: object) -> None:
        self._signal = self._signal or number


def play(count: int) -> int:
    """Start all parts, send the jobs, show what comes of them, and end all parts."""
    interruption = Interruption()
    forget_settings()
    console = open_console(WIDTH)
    started = monotonic()
    with Stage(lambda line: console.print(f"  {line}"), interruption.check) as stage:
        problems = _play(stage, console, interruption, count)
    if stage.worker_exit_code != 0:
        problems.append(f"the worker's exit code was {stage.worker_exit_code}, not 0")
    console.print(f"all parts are stopped, nothing is left behind; it took {monotonic() - started:.0f} s")
    for problem in problems:
        click.echo(f"worker68: demo: {problem}", err=True)
    return 1 if problems else 0


def _play(stage: Stage, console: Console, interruption: Interruption, count: int) -> list[str]:
    """Send the jobs, show what happens, and return in words what did not come out as it should."""
    with DemoProducer(stage.redis.url) as producer:
        stage.wait_until_ready(producer.worker_hears)
        jobs = instructive_jobs() + jobs_of_other_kinds() + ordinary_jobs(count)
        last = jobs_without_verdict()
        limits = ", ".join(f"{name} {rate}" for name, rate in LIMITS.items())
        console.print(f"limits raised for this demo ({limits}); by default an account may write 60 times a minute")
        console.print(f"{len(jobs) + len(last)} jobs, sent by a plain Celery client:")
        started = monotonic()

        def look() -> None:
            interruption.check()
            stage.check_worker()

        endings: list[Ending] = []

        def run(these: list[DemoJob], seconds: float) -> None:
            """Send jobs, and show each as it ends."""
            producer.send(these)
            for ending in producer.await_endings(Deadline.after(seconds), look):
                print_ending(console, ending)
                endings.append(ending)

        run(jobs, JOBS_SECONDS)
        stage.bridge.faults.verdict = "swallowed"
        run(last, DOUBT_SECONDS)
        took = monotonic() - started
        print_endings(console, endings)
        console.print(f"{len(endings)} jobs in {took:.1f} s: {count_statuses(endings)}")
        doubles = _find_doubles(stage.bridge)
        console.print(f"the bridge was asked for {len(_asked(stage.bridge))} messages, {len(doubles) or 'none'} twice")
        problems = [f"no reply in time: {job.label}" for job in producer.under_way]
    problems += [_contrast(ending) for ending in endings if not ending.as_expected]
    succeeded = [ending.job for ending in endings if ending.reply["status"] == Status.SUCCEEDED]
    return problems + doubles + _find_missing(stage.bridge, succeeded)


def _contrast(ending: Ending) -> str:
    wanted, reply = ending.job, ending.reply
    expected = f"{wanted.status}{f'/{wanted.error}' if wanted.error else ''}"
    return f"{wanted.label}: expected {expected}, and it ended {reply['status']} with {reply['error']}"


def _asked(bridge: Simulator) -> list[str]:
    """Return what the bridge was asked to send: the text of each message and announcement, the path of each file."""
    asked = []
    for frame in (one.frame for one in bridge.received):
        if frame["type"] == "sendMsg":
            asked.append(frame["data"]["list"][0]["values"]["content"])
        elif frame["type"] == "sendFile":
            asked.append(frame["data"]["file"])
    return asked


def _find_doubles(bridge: Simulator) -> list[str]:
    """Every text of the demo belongs to one job, so a text that was written twice is a message sent twice."""
    return [f"written {times} times: {text!r}" for text, times in Counter(_asked(bridge)).items() if times > 1]


def _find_missing(bridge: Simulator, succeeded: Iterable[DemoJob]) -> list[str]:
    """A job that has succeeded has sent what it was to send."""
    asked = set(_asked(bridge))
    wanted = [(job.label, wire_text(job.message, "escaped")) for job in succeeded if job.message is not None]
    return [f"never written: {label}" for label, text in wanted if text not in asked]
