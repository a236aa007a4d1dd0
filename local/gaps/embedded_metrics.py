"""Metrics in log lines: the embedded metric format.

AWS ("Specification: Embedded metric format", CloudWatch user guide): a log event that is one JSON
object with `_aws.CloudWatchMetrics` becomes a metric for each of its metric names and dimension
sets; a value is a number or a list of numbers, at the time of `_aws.Timestamp` (milliseconds).
ministack: keeps the line, and no metric comes of it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local.gaps.emulator import Emulator

_storing = threading.Lock()
"""Invocations log at the same time, and the emulator does not expect that of metrics."""


@dataclass(frozen=True)
class Metric:
    """The values of one metric in one log line."""

    namespace: str
    name: str
    unit: str
    dimensions: dict[str, str]
    values: list[float]


def install(emulator: Emulator) -> None:
    """Look at every log event when it is stored, whoever wrote it."""
    from ministack.services import cloudwatch, cloudwatch_logs

    def extract(original: Any) -> Any:
        def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
            original(stream, events)
            for event in events:
                if '"_aws"' in event["message"]:
                    publish(event)

        return append

    def keep(_original: Any) -> Any:
        def evict() -> None:
            """Nothing: points come from many threads, and no emulator runs for two weeks."""

        return evict

    emulator.wrap(cloudwatch_logs, "_append_log_events", extract, parameters=("stream", "events"))
    emulator.wrap(cloudwatch, "_evict_old_metrics", keep, parameters=())


def publish(event: dict[str, Any]) -> None:
    """Store the metrics of one log event, if it is in the format."""
    from ministack.services import cloudwatch

    try:
        document = json.loads(event["message"])
        metadata = document["_aws"]
        seconds = float(metadata.get("Timestamp") or event["timestamp"]) / 1000
        found = list(metrics(document, metadata["CloudWatchMetrics"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return  # as on AWS, a line that does not follow the specification is only a line
    with _storing:
        for metric in found:
            where = (metric.namespace, metric.name, metric.dimensions)
            cloudwatch._store_datum(*where, seconds, metric.unit, None, metric.values, None, None)


def metrics(document: dict[str, Any], directives: list[dict[str, Any]]) -> Iterator[Metric]:
    """The metrics that the directives point out in a document.

    Raises:
        KeyError: If a metric or a dimension has no value in the document.
        ValueError, TypeError: If a value is not a number.
    """
    for directive in directives:
        for names in directive["Dimensions"]:
            dimensions = {name: str(document[name]) for name in names}
            for definition in directive["Metrics"]:
                value = document[definition["Name"]]
                yield Metric(
                    directive["Namespace"],
                    definition["Name"],
                    definition.get("Unit", "None"),
                    dimensions,
                    [float(item) for item in (value if isinstance(value, list) else [value])],
                )
