"""What to simulate: variant, load, seed, parameters, and what the courier goes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from functions.slow_api.behaviour import MODES

from loadtest.profiles import Profile
from loadtest.twin.constants import Platform

ARRIVALS = ("even", "poisson")


@dataclass(frozen=True)
class Outage:
    """A stretch of time in which the courier is in one of the simulator's modes.

    Args:
        begin: Seconds since the first moment of the load.
        end: Seconds since then, more than begin.
        mode: One of the modes of ``functions/slow_api/behaviour.py``, such as outage, hang or slow.
    """

    begin: float
    end: float
    mode: str = "outage"

    @staticmethod
    def read(text: str) -> Outage:
        """Read ``600:900`` or ``600:900:hang``.

        Raises:
            ValueError: The text is something else; the message says what is expected.
        """
        parts = text.split(":")
        mode = parts[2] if len(parts) > 2 else "outage"
        try:
            begin, end = float(parts[0]), float(parts[1])
        except (ValueError, IndexError):
            begin, end = 0.0, -1.0
        if len(parts) > 3 or not 0 <= begin < end < float("inf"):
            raise ValueError(f"an outage is BEGIN:END or BEGIN:END:MODE in seconds, such as 600:900, not {text!r}")
        if mode not in MODES:
            raise ValueError(f"the mode of an outage must be one of {', '.join(sorted(MODES))}, not {mode!r}")
        return Outage(begin, end, mode)


@dataclass(frozen=True)
class Scenario:
    """One simulation.

    Args:
        variant: flow-control, no-flow-control or plain-buffer.
        profile: The load.
        seed: The same seed gives the same result.
        parameters: Parameters of template.yaml that differ from their defaults.
        outages: What the courier goes through, in any order, without overlaps.
        arrivals: even, as artillery sends them, or poisson, as independent customers do.
        platform: How AWS behaves.
        horizon: Seconds after which to stop, whatever still waits; None to go on until nothing does.
    """

    variant: str
    profile: Profile
    seed: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    arrivals: str = "even"
    platform: Platform = field(default_factory=Platform)
    horizon: float | None = None

    def __post_init__(self) -> None:
        if self.arrivals not in ARRIVALS:
            raise ValueError(f"arrivals must be one of {', '.join(ARRIVALS)}, not {self.arrivals!r}")
        ordered = sorted(self.outages, key=lambda outage: outage.begin)
        for former, latter in pairwise(ordered):
            if latter.begin < former.end:
                raise ValueError(f"outages must not overlap: {former} and {latter}")
