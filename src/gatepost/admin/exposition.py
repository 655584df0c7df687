"""Counts and gauges in the text format that Prometheus reads.

Not here: counting (`audit.metrics`), who may read it (`health`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.audit.metrics import FAMILIES, Counts, Family

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "gatepost_connections": ("Connections that are open", ("service",)),
    "gatepost_queue_recipients": ("Recipients in the queue", ("state",)),
    "gatepost_workers": ("Workers that serve", ()),
    "gatepost_disk_free_octets": ("Free on the disk of the data folder", ()),
}
"""Name: (help, labels)."""

Gauges = Mapping[tuple[str, ...], float]
"""(name in `GAUGES`, label values) to what it is now."""


def exposition(counts: Counts, gauges: Gauges) -> bytes:
    """The text. What is in neither `FAMILIES` nor `GAUGES` is left out."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(counts, gauges))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, counts: Counts, gauges: Gauges) -> None:
        self._series: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for (name, *labels), value in (*counts.items(), *gauges.items()):
            self._series[name][tuple(labels)] = value

    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            series = self._series.get(name, {})
            yield _histogram(name, family, series) if family.buckets else _counter(name, family, series)
        for name, (text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, value in sorted(self._series.get(name, {}).items()):
                if len(values) == len(labels):
                    gauge.add_metric(values, value)
            yield gauge


def _counter(name: str, family: Family, series: Mapping[tuple[str, ...], float]) -> Metric:
    counter = CounterMetricFamily(name, family.help, labels=family.labels)
    if not family.labels:  # a counter without labels is there from the beginning, so that its rate is known
        series = {(): 0.0, **series}
    for labels, value in sorted(series.items()):
        if len(labels) == len(family.labels):
            counter.add_metric(labels, value)
    return counter


def _histogram(name: str, family: Family, series: Mapping[tuple[str, ...], float]) -> Metric:
    histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
    for labels in sorted({values[:-1] for values in series if len(values) == len(family.labels) + 1}):
        buckets = _buckets(
            family.buckets, [series.get((*labels, str(at)), 0.0) for at in range(len(family.buckets) + 1)]
        )
        histogram.add_metric(labels, buckets, series.get((*labels, "sum"), 0.0))
    return histogram


def _buckets(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Cumulative, as the format wants them."""
    found, below = [], 0.0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        found.append((bound, below))
    return found
