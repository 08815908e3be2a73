"""The runs of jobs: which are under way, and when none is."""

from __future__ import annotations

from tests.parts.jobs import SEND, job
from tests.parts.metrics import values_of
from worker68.clock import monotonic
from worker68.execution.slots import Ready, Slot, StepDone, ask_of
from worker68.jobs.outcome import succeeded
from worker68.observe.runs import Runs


def ready(seq: int) -> Ready:
    begun = job(seq)
    return Ready(begun, Slot(ask_of(begun), monotonic(), monotonic()))


def test_what_is_under_way_is_held_until_its_end() -> None:
    runs = Runs()
    assert runs.idle.is_set()
    first, second = runs.begin(ready(1)), runs.begin(ready(2))
    assert runs.under_way == {1: first, 2: second}
    runs.end(first, succeeded({}))
    assert not runs.idle.is_set()
    runs.end(second, None)
    assert runs.idle.is_set()
    assert runs.begun == {SEND: 2}


def test_a_run_under_an_older_lease_ends_beside_the_next_run_of_its_job() -> None:
    runs = Runs()
    older, newer = runs.begin(ready(1)), runs.begin(ready(1))
    runs.end(older, None)
    assert runs.under_way == {1: newer}
    assert not runs.idle.is_set()
    runs.end(newer, succeeded({}))
    assert runs.idle.is_set()


def test_a_run_under_an_older_lease_may_end_last() -> None:
    runs = Runs()
    older, newer = runs.begin(ready(1)), runs.begin(ready(1))
    runs.end(newer, succeeded({}))
    runs.end(older, None)
    assert runs.under_way == {}


def test_what_a_run_came_to_is_counted() -> None:
    runs = Runs()
    for seq, conclusion in enumerate((succeeded({}), StepDone(), None)):
        runs.end(runs.begin(ready(seq)), conclusion)
    found = values_of(runs.ends.collect())["worker68_runs_total"]
    assert found == {("main", SEND, end): 1 for end in ("ended", "again", "dropped")}
