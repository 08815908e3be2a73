"""Figures as Prometheus reads them, over HTTP."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.composed import free_port
from worker68.errors import SettingsError
from worker68.observe.latency import BOUNDS, Latency
from worker68.observe.metrics import Figure, Metrics


def scrape(read: Callable[[], Iterable[Figure]]) -> dict[tuple[str, ...], float]:
    """Return what a scrape gives, by name and labels."""
    port = free_port()
    metrics = Metrics(port, read)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            text = page.read().decode()
    finally:
        metrics.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_served() -> None:
    jobs = Figure("counter", "worker68_jobs_ended_total", "Ended.", ("account",))
    jobs.set(3, "main")
    healthy = Figure("gauge", "worker68_healthy", "Well.")
    healthy.set(1)

    found = scrape(lambda: [jobs, healthy])

    assert found["worker68_jobs_ended_total", "main"] == 3
    assert found["worker68_healthy",] == 1
    assert found["process_resident_memory_bytes",] > 0


def test_a_histogram_is_cumulated() -> None:
    latency = Latency()
    for seconds in (0.0005, 0.001, 0.002, 100.0):
        latency.observe(seconds)
    figure = Figure("histogram", "worker68_writer_seconds", "Took.")
    figure.set(latency.read())

    found = scrape(lambda: [figure])

    assert found["worker68_writer_seconds_bucket", str(BOUNDS[0])] == 2
    assert found["worker68_writer_seconds_bucket", str(BOUNDS[1])] == 3
    assert found["worker68_writer_seconds_bucket", str(BOUNDS[-1])] == 3
    assert found["worker68_writer_seconds_bucket", "+Inf"] == 4
    assert found["worker68_writer_seconds_count",] == 4
    assert found["worker68_writer_seconds_sum",] == pytest.approx(100.0035)


def test_figures_are_read_at_each_scrape_and_not_before() -> None:
    reads: list[int] = []

    def read() -> list[Figure]:
        reads.append(1)
        return []

    scrape(read)
    assert reads == [1]


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(SettingsError, match=r"WORKER68_METRICS_PORT: cannot listen on port \d+: .*its own"):
            Metrics(taken.getsockname()[1], list)


def test_a_block_is_measured_also_where_it_fails() -> None:
    latency = Latency()
    with pytest.raises(OSError, match="gone"), latency.measured():
        raise OSError("gone")
    assert sum(latency.read().counts) == 1
