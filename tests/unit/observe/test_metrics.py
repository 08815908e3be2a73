"""Metrics as Prometheus reads them, over HTTP."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tests.parts.composed import free_port
from worker68.errors import SettingsError
from worker68.observe.metrics import BOUNDS, Page, counter, histogram


def scrape(*metrics: Collector) -> dict[tuple[str, ...], float]:
    """Return what a scrape gives, by name and labels."""
    registry = CollectorRegistry()
    for metric in metrics:
        registry.register(metric)
    port = free_port()
    page = Page(port, registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        page.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_is_served_and_nothing_beside_it() -> None:
    jobs = counter("worker68_runs_total", "Ran.", ("account",))
    jobs.labels("main").inc(3)

    assert scrape(jobs) == {("worker68_runs_total", "main"): 3}


def test_a_histogram_is_cumulated() -> None:
    took = histogram("worker68_writer_seconds", "Took.")
    for seconds in (0.0005, 0.001, 0.002, 100.0):
        took.observe(seconds)

    found = scrape(took)

    assert len(found) == len(BOUNDS) + 3, "the buckets, the last one, count, and sum"
    assert found["worker68_writer_seconds_bucket", str(BOUNDS[0])] == 2
    assert found["worker68_writer_seconds_bucket", str(BOUNDS[1])] == 3
    assert found["worker68_writer_seconds_bucket", str(BOUNDS[-1])] == 3
    assert found["worker68_writer_seconds_bucket", "+Inf"] == 4
    assert found["worker68_writer_seconds_count",] == 4
    assert found["worker68_writer_seconds_sum",] == pytest.approx(100.0035)


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(SettingsError, match=r"WORKER68_METRICS_PORT: cannot listen on port \d+: .*its own"):
            Page(taken.getsockname()[1], CollectorRegistry())
