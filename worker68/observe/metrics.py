"""Metrics for Prometheus, over HTTP on ``METRICS_PORT``.

In: a callable that returns figures when somebody scrapes. Out: the text format on ``/metrics``. Never: a figure that grows with the
number of chats, jobs or reply names; a scrape that stops the worker: what it raises, the scrape is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker68.errors import SettingsError
from worker68.observe.latency import BOUNDS, Distribution

Value = float | Distribution


@dataclass
class Figure:
    """One metric and its values by the values of its labels. A counter's name ends in ``_total``."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: dict[tuple[str, ...], Value] = field(default_factory=dict)

    def set(self, value: Value, *labels: str) -> None:
        self.values[labels] = value


class Metrics:
    """The HTTP server. It listens from the moment it is made, on all addresses. Raises ``SettingsError`` for a taken port."""

    def __init__(self, port: int, read: Callable[[], Iterable[Figure]]) -> None:
        registry = CollectorRegistry()
        registry.register(_Collector(read))
        ProcessCollector(registry=registry)
        try:
            self._server: WSGIServer
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise SettingsError(
                f"WORKER68_METRICS_PORT: cannot listen on port {port}: {error.strerror}; give each worker of a host its own"
            ) from None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector(Collector):
    def __init__(self, read: Callable[[], Iterable[Figure]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Say nothing of what there will be: the registry would read it all only to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        for figure in self._read():
            yield _family(figure)


def _family(figure: Figure) -> Metric:
    if figure.kind == "histogram":
        histogram = HistogramMetricFamily(figure.name, figure.help, labels=figure.labels)
        for labels, value in figure.values.items():
            assert isinstance(value, Distribution)
            histogram.add_metric(labels, _buckets(value), value.total_seconds)
        return histogram
    family = (CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily)(
        figure.name, figure.help, labels=figure.labels
    )
    for labels, value in figure.values.items():
        assert not isinstance(value, Distribution)
        family.add_metric(labels, value)
    return family


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(value.counts)), strict=True))
