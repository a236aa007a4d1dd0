"""The load: phases of arrivals, as `orders.yml` states them for artillery, and how to scale them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SCENARIO = Path(__file__).with_name("orders.yml")

SHORT_TIME = 1 / 15
"""Factor of the short profile's durations: 18 minutes become 72 seconds."""

PUBLISHED_COURIER_RATE = 10.0
"""Calls a second that the courier of the published experiment accepts (its burst is the same)."""

PUBLISHED_RETRY_WAIT = (3.0, 8.0)
"""Seconds that the build without flow control waits between two calls for one order, uniform."""

LAMBDA_ASYNC_RETRY_WAIT = (60.0, 120.0)
"""Seconds before Lambda's retries of a failed asynchronous invocation.

Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous
invocation"."""


@dataclass(frozen=True)
class Phase:
    """A stretch of time in which orders arrive at a rate that is constant or grows evenly.

    Attributes:
        name: What artillery calls it.
        duration_s: Length in seconds, more than 0.
        start_rate: Orders a second at its start, 0 or more.
        end_rate: Orders a second at its end, 0 or more.
    """

    name: str
    duration_s: float
    start_rate: float
    end_rate: float

    @property
    def orders(self) -> float:
        """Orders that arrive in it, on average."""
        return self.duration_s * (self.start_rate + self.end_rate) / 2


@dataclass(frozen=True)
class Scale:
    """How a run differs from the published experiment.

    The behaviour keeps its shape when every time is multiplied by one factor and every rate by
    another: the ratio of load to limit, the share of failed invocations and of lost orders stay,
    and concurrency is multiplied by time x rate.

    Attributes:
        time: Factor of every duration, more than 0 and at most 1 to shorten.
        rate: Factor of every rate, of arrivals and of the courier's limit alike, more than 0.
    """

    time: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.time <= 0 or self.rate <= 0:
            raise ValueError(f"a scale is more than 0, not time={self.time} rate={self.rate}")


@dataclass(frozen=True)
class Profile:
    """Phases one after the other."""

    name: str
    phases: tuple[Phase, ...]

    @property
    def duration_s(self) -> float:
        """Length of the load in seconds."""
        return sum(phase.duration_s for phase in self.phases)

    @property
    def orders(self) -> float:
        """Orders that arrive in all, on average."""
        return sum(phase.orders for phase in self.phases)

    @property
    def peak_rate(self) -> float:
        """Most orders a second."""
        return max(max(phase.start_rate, phase.end_rate) for phase in self.phases)

    def scaled(self, scale: Scale, name: str | None = None) -> Profile:
        """Return the same shape with other times and rates; whole seconds, as artillery ramps by them."""
        return Profile(
            name=name or self.name,
            phases=tuple(
                Phase(
                    phase.name,
                    max(1.0, round(phase.duration_s * scale.time)),
                    phase.start_rate * scale.rate,
                    phase.end_rate * scale.rate,
                )
                for phase in self.phases
            ),
        )

    def rate_at(self, second: float) -> float:
        """Orders a second at a time since the start; 0 before and after the load."""
        for begin, phase in self._begins():
            if begin <= second < begin + phase.duration_s:
                share = (second - begin) / phase.duration_s
                return phase.start_rate + share * (phase.end_rate - phase.start_rate)
        return 0.0

    def seconds_above(self, rate: float) -> tuple[float, float] | None:
        """First and last second in which orders arrive faster than `rate`; None when they do not."""
        above: list[float] = []
        for begin, phase in self._begins():
            low, high = sorted((phase.start_rate, phase.end_rate))
            if high <= rate:
                continue
            share = 0.0 if low > rate else (rate - low) / (high - low)
            rising = phase.end_rate >= phase.start_rate
            crossing = begin + phase.duration_s * (share if rising else 1 - share)
            end = begin + phase.duration_s
            above += [crossing, end] if rising else [begin, crossing]
        return (min(above), max(above)) if above else None

    def _begins(self) -> Iterator[tuple[float, Phase]]:
        begin = 0.0
        for phase in self.phases:
            yield begin, phase
            begin += phase.duration_s

    def artillery_phases(self) -> list[dict[str, Any]]:
        """Put the phases in artillery's terms, which takes a fraction for a rate only where it ramps."""
        return [
            {"name": phase.name, "duration": phase.duration_s}
            | (
                {"arrivalCount": round(phase.orders)}
                if phase.start_rate == phase.end_rate
                else {"arrivalRate": phase.start_rate, "rampTo": phase.end_rate}
            )
            for phase in self.phases
        ]


def load(name: str = "published", scenario: Path = SCENARIO) -> Profile:
    """Read the phases of an environment of the artillery scenario.

    Raises:
        ValueError: If the scenario has no such environment; the message names those it has.
    """
    environments = yaml.safe_load(scenario.read_text())["config"]["environments"]
    if name not in environments:
        raise ValueError(f"no profile {name!r} in {scenario.name}; it has {', '.join(environments)}")
    phases = environments[name]["phases"]
    return Profile(
        name=name,
        phases=tuple(
            Phase(
                phase["name"],
                float(phase["duration"]),
                float(phase["arrivalRate"]),
                float(phase.get("rampTo", phase["arrivalRate"])),
            )
            for phase in phases
        ),
    )
