"""How the simulated courier behaves: pure rules, so that the same orders meet the same courier in every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

MODES = {
    "healthy": "answers after its latency; one call in five fails with 500",
    "slow": "takes five times as long",
    "outage": "answers 500 at once",
    "unavailable": "answers 503 with Retry-After at once",
    "throttle": "answers 429 with Retry-After at once",
    "hang": "never answers while the caller waits, and does nothing",
    "drop": "takes the delivery, and its answer does not arrive while the caller waits",
    "refuse": "answers 422: it will never take this delivery",
}
# Where no courier goes: such a delivery is refused in every mode, for tests of single refused orders.
UNDELIVERABLE_COUNTRY = "AQ"
_SLOWER = 5
# Longer than any caller may wait for an answer (the template bounds CourierTimeout), shorter than API Gateway's 29 s.
_HANG_SECONDS = 27.0


@dataclass(frozen=True)
class Courier:
    """The courier's character: failure rate from 0 to 1, latency bounds in seconds, and a seed."""

    failure_rate: float
    latency_min: float
    latency_max: float
    seed: int


@dataclass(frozen=True)
class Control:
    """The mode that the courier is in, and the seconds that it asks callers to wait where it does."""

    mode: str = "healthy"
    retry_after: int = 1

    @staticmethod
    def read(document: Any) -> Control:
        """Read a control document.

        Raises:
            ValueError: The mode is unknown, or retry_after is no number of seconds.
        """
        mode = document.get("mode") if isinstance(document, Mapping) else None
        if not isinstance(mode, str) or mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(sorted(MODES))}")
        retry_after = document.get("retry_after", 1)
        if not isinstance(retry_after, int | Decimal) or not 0 <= retry_after <= 3600:
            raise ValueError("retry_after must be 0 to 3600 whole seconds")
        return Control(mode, int(retry_after))

    def as_dict(self) -> dict[str, Any]:
        """Return the document that read understands."""
        return {"mode": self.mode, "retry_after": self.retry_after}


@dataclass(frozen=True)
class Plan:
    """What the courier will do with one call."""

    latency: float
    """Seconds until it has decided."""
    status: int
    message: str
    accepts: bool = False
    """Whether the delivery takes effect."""
    retry_after: int | None = None
    silence: float = 0.0
    """Seconds between the effect and the answer."""


def plan(courier: Courier, control: Control, key: str, call: int, country: str | None = None) -> Plan:
    """Decide a call's course from the seed, the order's idempotency key and the number of the call.

    Args:
        courier: The courier's character.
        control: Its present mode.
        key: The order's idempotency key.
        call: Which call for this order it is, from 1.
        country: Where the delivery is to go, if the order says so.
    """
    if country == UNDELIVERABLE_COUNTRY:
        return Plan(0.0, 422, f"no deliveries to {country}")
    dice = Random(f"{courier.seed}/{key}/{call}")  # noqa: S311 (a simulation, not cryptography)
    latency = dice.uniform(courier.latency_min, courier.latency_max)
    fails = dice.random() < courier.failure_rate
    match control.mode:
        case "outage":
            return Plan(0.0, 500, "out of order")
        case "unavailable":
            return Plan(0.0, 503, "closed for maintenance", retry_after=control.retry_after)
        case "throttle":
            return Plan(0.0, 429, "too many deliveries", retry_after=control.retry_after)
        case "refuse":
            return Plan(0.0, 422, "not deliverable")
        case "hang":
            return Plan(0.0, 504, "too late", silence=_HANG_SECONDS)
        case "drop":
            return Plan(latency, 504, "too late, but scheduled", accepts=True, silence=_HANG_SECONDS)
        case "slow":
            latency = min(latency * _SLOWER, _HANG_SECONDS)
    if fails:
        return Plan(latency, 500, "something went wrong")
    return Plan(latency, 201, "scheduled", accepts=True)
