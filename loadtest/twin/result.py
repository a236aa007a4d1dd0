"""What came of a simulation. Times in seconds, shares from 0 to 1, None where there is nothing to tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """The figures and series of one simulation.

    Attributes:
        scenario: What was simulated: variant, profile, seed, parameters, outages, arrivals.
        orders: Orders that the shop sent.
        accepted: Orders that the API answered with 202.
        delivered: Accepted orders that the courier took.
        lost: Accepted orders that nobody will deliver and nobody is told of.
        dead_letters: Accepted orders that wait for people, with the reason.
        waiting: Accepted orders that were still on their way when the simulation ended.
        duplicates: Effects at the courier beyond the first of each order.
        peak_concurrency: Most executions of the delivery function at a time.
        peak_concurrency_of_account: The same of all functions together, the courier simulator's included.
        worst_minute_success: Lowest share of the delivery function's invocations that ended well, of any minute with
            five or more.
        max_failed_per_minute: Most of its invocations that failed in a minute.
        p50_delay_s: Median time from sending an order until the courier took it.
        p95_delay_s: 95th percentile of the same.
        max_backlog: Most accepted orders without a fate at a time.
        drain_s: From the end of the load until the last order met its fate.
        fluid_limit_drain_s: The same for a courier that is used to the last call: no system can be faster.
        goodput_ratio: Deliveries a second while orders waited, over the courier's limit (rate x share of good answers).
        throttled_share: Share of all calls that the courier refused as too many.
        courier_calls: Calls to the courier.
        peak_calls_per_second: Most of them within any second.
        peak_calls_per_second_recovered: The same after the last outage.
        invocations: Invocations of the delivery function.
        billed_seconds_per_order: Billed time of the delivery function for each accepted order.
        cost_usd_per_1000_orders: What the hub's work costs at list prices, for each thousand accepted orders.
        costs_usd_per_1000_orders: The same by service.
        time_to_open_s: From the beginning of an outage until deliveries are off; the longest if there are several.
        time_to_recover_s: From the end of an outage until the circuit is closed; the longest if there are several.
        series: By name, one value for every ten seconds; ``measure.SERIES`` says what each is.
    """

    scenario: dict[str, Any]
    orders: int
    accepted: int
    delivered: int
    lost: int
    dead_letters: int
    waiting: int
    duplicates: int
    peak_concurrency: int
    peak_concurrency_of_account: int
    worst_minute_success: float | None
    max_failed_per_minute: int
    p50_delay_s: float | None
    p95_delay_s: float | None
    max_backlog: int
    drain_s: float
    fluid_limit_drain_s: float | None
    goodput_ratio: float | None
    throttled_share: float | None
    courier_calls: int
    peak_calls_per_second: int
    peak_calls_per_second_recovered: int | None
    invocations: int
    billed_seconds_per_order: float | None
    cost_usd_per_1000_orders: float | None
    costs_usd_per_1000_orders: dict[str, float] | None
    time_to_open_s: float | None
    time_to_recover_s: float | None
    series: dict[str, list[float | int | str | None]]

    def to_json(self, *, series: bool = True) -> str:
        """Return the same bytes for the same simulation, with or without the series."""
        values = {name: value for name, value in vars(self).items() if series or name != "series"}
        return json.dumps(values, indent=None if series else 2, sort_keys=True, allow_nan=False) + "\n"
