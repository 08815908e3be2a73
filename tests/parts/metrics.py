"""Metrics as a scrape reads them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


def values_of(metrics: Iterable[Metric]) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values by a metric's full name and the values of its labels; of a histogram those of all its series.

    When a series was made is none of them: prometheus-client says so until the process has served its first page.
    """
    return {
        metric.name + "_total" * (metric.type == "counter"): {
            tuple(sample.labels.values()): sample.value
            for sample in metric.samples
            if not sample.name.endswith("_created")
        }
        for metric in metrics
    }


def counted(metric: Collector, *labels: str) -> float:
    """Return the value of one counter, 0 where it has counted nothing. Of a page that is served: no other series."""
    samples = [sample for family in metric.collect() for sample in family.samples if sample.name.endswith("_total")]
    return sum(sample.value for sample in samples if tuple(sample.labels.values()) == labels)
