"""What a function has written to its log group, and whom it belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Output:
    """Everything that was printed: log lines, metrics in embedded metric format, and whatever else slipped out."""

    text: str
    errors: str = ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines, each of which has to be JSON: CloudWatch Logs Insights finds fields in nothing else."""
        return [json.loads(line) for line in self.text.splitlines() if line]

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The log lines."""
        return [line for line in self.lines if "_aws" not in line]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines in embedded metric format."""
        return [line for line in self.lines if "_aws" in line]

    def statuses(self, correlation_id: str | None = None) -> list[str]:
        """START, COMPLETED, FAILED ... in their order, of one order or of all."""
        return [
            line["status"]
            for line in self.logs
            if "status" in line and correlation_id in (None, line.get("correlation_id"))
        ]

    def metric(self, name: str, **dimensions: str) -> float | None:
        """The sum of a metric's values, None if there is none; with these dimension values, if any are given."""
        values = [
            value
            for line in self.metrics
            if name in line and dimensions.items() <= line.items()
            for value in _listed(line[name])
        ]
        return sum(values) if values else None


def _listed(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]
