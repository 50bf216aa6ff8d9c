"""Metrics of a stage: one registry a process, made from the typed list in ``metric_defs``.

A name or a set of labels that is not in the list is an error where it is used, not a new series.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from consumer.metric_defs import DEFINITIONS, Definition

__all__ = ["CONTENT_TYPE", "Metrics", "UnknownMetricError", "render_markdown"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_Metric = Counter | Gauge | Histogram


class UnknownMetricError(LookupError):
    """The name, its kind, or its labels are not those of a definition."""


class Metrics:
    """The metrics of one process. Safe to use from any thread."""

    def __init__(self, definitions: Iterable[Definition] = DEFINITIONS) -> None:
        self.registry = CollectorRegistry()
        self._definitions = {definition.name: definition for definition in definitions}
        self._metrics = {name: _make(definition, self.registry) for name, definition in self._definitions.items()}

    def inc(self, name: str, amount: float = 1.0, /, **labels: object) -> None:
        """Add to a counter. Raises ``UnknownMetricError``."""
        metric = self._series(name, labels)
        if not isinstance(metric, Counter):
            raise UnknownMetricError(f"{name} is a {self._definitions[name].kind}, not a counter")
        metric.inc(amount)

    def set(self, name: str, value: float, /, **labels: object) -> None:
        """Set a gauge. Raises ``UnknownMetricError``."""
        metric = self._series(name, labels)
        if not isinstance(metric, Gauge):
            raise UnknownMetricError(f"{name} is a {self._definitions[name].kind}, not a gauge")
        metric.set(value)

    def observe(self, name: str, value: float, /, **labels: object) -> None:
        """Add an observation to a histogram. Raises ``UnknownMetricError``."""
        metric = self._series(name, labels)
        if not isinstance(metric, Histogram):
            raise UnknownMetricError(f"{name} is a {self._definitions[name].kind}, not a histogram")
        metric.observe(value)

    def remove(self, name: str, /, **labels: object) -> None:
        """Forget one series, such as the gauge of a partition that another instance has now."""
        definition = self._definition(name, labels)
        if definition.labels:
            # A series that never began is created first: the client raises for what is not there.
            self._series(name, labels)
            self._metrics[name].remove(*(str(labels[label]) for label in definition.labels))

    def value(self, name: str, /, **labels: object) -> float:
        """What a counter or gauge stands at; 0 for a series that has not begun."""
        self._definition(name, labels)
        text = {label: str(value) for label, value in labels.items()}
        return self.registry.get_sample_value(name, text) or 0.0

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def _definition(self, name: str, labels: dict[str, object]) -> Definition:
        definition = self._definitions.get(name)
        if definition is None:
            raise UnknownMetricError(f"there is no metric {name!r}: define it in consumer/metric_defs.py")
        if set(labels) != set(definition.labels):
            raise UnknownMetricError(f"{name} has the labels {definition.labels}, not {tuple(labels)}")
        return definition

    def _series(self, name: str, labels: dict[str, object]) -> _Metric:
        definition = self._definition(name, labels)
        metric = self._metrics[name]
        return metric.labels(**{key: str(value) for key, value in labels.items()}) if definition.labels else metric


def _make(definition: Definition, registry: CollectorRegistry) -> _Metric:
    if definition.kind == "counter":
        return Counter(definition.name, definition.meaning, definition.labels, registry=registry)
    if definition.kind == "gauge":
        return Gauge(definition.name, definition.meaning, definition.labels, registry=registry)
    return Histogram(
        definition.name, definition.meaning, definition.labels, buckets=definition.buckets, registry=registry
    )


def render_markdown(definitions: Iterable[Definition] = DEFINITIONS) -> str:
    """The page of the documentation about metrics."""
    lines = ["| metric | kind, unit | labels | meaning | when it looks wrong |", "|---|---|---|---|---|"]
    for one in definitions:
        labels = ", ".join(f"`{label}`" for label in one.labels) or "–"
        remedy = "–" if one.remedy == "-" else one.remedy
        lines.append(f"| `{one.name}` | {one.kind}, {one.unit} | {labels} | {one.meaning} | {remedy} |")
    return "\n".join(lines) + "\n"
