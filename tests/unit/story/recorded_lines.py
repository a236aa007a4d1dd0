"""Log lines of real orders, recorded on the local stack with a courier that fails three calls in five.

Each file holds what `local.story.search` found of one order; stack traces are cut out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from local.story.search import Line, read_line

FOLDER = Path(__file__).with_name("recorded")


@dataclass(frozen=True)
class Recording:
    """An order's lines, and the circuit's where they were recorded."""

    order: list[Line]
    circuit: list[Line]

    @property
    def correlation_id(self) -> str:
        """The order's correlation id."""
        return str(self.order[0].correlation_id)

    def until(self, moment: float) -> Recording:
        """Return what had been written some seconds after the order's first line."""
        order, circuit = (
            [line for line in lines if line.at <= self.order[0].at + moment] for lines in (self.order, self.circuit)
        )
        return Recording(order, circuit)


def recording(name: str) -> Recording:
    """Read recorded/<name>.jsonl."""
    events = [json.loads(text) for text in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    lines = [read_line(event["group"], event["timestamp"] / 1000, event["message"]) for event in events]
    circuit = [line for line in lines if line.group == "CircuitLogGroup"]
    return Recording([line for line in lines if line not in circuit], circuit)
