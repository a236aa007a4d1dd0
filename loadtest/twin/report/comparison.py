"""Runs every build with every seed, and puts all numbers of the report into one JSON document.

The document, which is compare.json, has

- ``load``: the orders, and the courier that has to take them;
- ``published``: what the published run of the experiment measured; empty under any other load;
- ``figures``: of each variant and figure of the twin, ``mean``, ``lowest`` and ``highest`` of the seeds, and ``runs``,
  the value for each seed; null where there was none, such as the time to recover without an outage;
- ``costs``: the same for the US dollars that each service costs for a thousand orders;
- ``deviations``: of the means from the published figures, as shares of those, or in points where they are shares;
- ``ratios``: how the variants compare, as the page's sentences say it;
- ``series``: of each variant and curve of the pictures, ``minutes`` and ``mean``, ``lowest`` and ``highest``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import accumulate, zip_longest
from multiprocessing import get_context
from statistics import fmean
from typing import Any

from loadtest import profiles, style
from loadtest.profiles import Profile
from loadtest.twin.constants import PublishedFigures
from loadtest.twin.measure import BUCKET_S
from loadtest.twin.model import simulate
from loadtest.twin.scenario import Scenario
from loadtest.twin.settings import deployment

VARIANTS = tuple(style.LABELS)

_AWS = PublishedFigures()
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "no-flow-control": {
        "peak_concurrency_of_account": _AWS.peak_concurrency,
        "max_failed_per_minute": _AWS.failed_per_minute,
        "worst_minute_success": _AWS.worst_minute_success,
    },
    "plain-buffer": {
        "peak_concurrency_of_account": _AWS.buffered_concurrency,
        "worst_minute_success": _AWS.buffered_success,
    },
}
"""What the published run of this experiment measured, by the twin's names."""

MINUTE = round(60 / BUCKET_S)
"""Buckets of the twin's series in a minute."""

Run = Mapping[str, Any]
"""The JSON of one simulation."""

Values = list[float | None]


def run(profile: Profile, seeds: Sequence[int], workers: int) -> Iterator[tuple[str, int, Run]]:
    """Simulate every variant with every seed, and yield each result when it is there.

    Args:
        profile: The load.
        seeds: One run of each variant for each.
        workers: Processes, 1 or more.
    """
    # Not forked: the process that asks has threads, of a progress bar for example.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=quieten) as pool:
        futures = {
            pool.submit(_simulate, variant, profile, seed): (variant, seed) for seed in seeds for variant in VARIANTS
        }
        try:
            for future in as_completed(futures):
                yield *futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def quieten() -> None:
    """Keep the translator of SAM templates from telling people about itself."""
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)


def _simulate(variant: str, profile: Profile, seed: int) -> Run:
    result: Run = json.loads(simulate(Scenario(variant=variant, profile=profile, seed=seed)).to_json())
    return result


def document(runs: Mapping[str, Mapping[int, Run]], profile: Profile) -> dict[str, Any]:
    """Put together what the report shows.

    Args:
        runs: The result of each variant and seed; the same seeds for every variant.
        profile: The load that they met, of at least one order.
    """
    seeds = sorted(next(iter(runs.values())))
    ordered = {variant: [runs[variant][seed] for seed in seeds] for variant in VARIANTS}
    figures = {variant: _figures(results) for variant, results in ordered.items()}
    comparable = PUBLISHED if profile == profiles.load() else {}
    return {
        "load": _load(profile, seeds),
        "published": comparable,
        "figures": figures,
        "costs": {
            variant: {
                service: _spread([result["costs_usd_per_1000_orders"][service] for result in results])
                for service in results[0]["costs_usd_per_1000_orders"]
            }
            for variant, results in ordered.items()
        },
        "deviations": {
            variant: {key: _deviation(figures[variant][key]["mean"], aim) for key, aim in published.items()}
            for variant, published in comparable.items()
        },
        "ratios": _ratios(figures),
        "series": {variant: _series(results) for variant, results in ordered.items()},
    }


def _deviation(mean: float, aim: float) -> float:
    return mean - aim if aim <= 1 else mean / aim - 1


def _load(profile: Profile, seeds: Sequence[int]) -> dict[str, Any]:
    courier = deployment("flow-control").courier
    rate = courier.limits.rate
    overload = profile.seconds_above(rate)
    return {
        "profile": profile.name,
        "minutes": profile.duration_s / 60,
        "orders": profile.orders,
        "orders_per_second": profile.peak_rate,
        "courier_calls_per_second": rate,
        "courier_failure_rate": courier.failure_rate,
        "overload_minutes": [second / 60 for second in overload] if overload else None,
        "seeds": len(seeds),
        "seed": list(seeds),
    }


def _figures(results: Sequence[Run]) -> dict[str, Any]:
    keys = [key for key, value in results[0].items() if value is None or isinstance(value, int | float)]
    return {key: _spread([result[key] for result in results]) for key in keys}


def _spread(values: Values) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "lowest": min(known, default=None),
        "highest": max(known, default=None),
        "runs": values,
    }


RATIOS: Mapping[str, tuple[str, str, str]] = {
    "concurrency_no_flow_control": ("peak_concurrency", "no-flow-control", "flow-control"),
    "concurrency_plain_buffer": ("peak_concurrency", "plain-buffer", "flow-control"),
    "calls_no_flow_control": ("courier_calls", "no-flow-control", "flow-control"),
    "delay_plain_buffer": ("p50_delay_s", "plain-buffer", "flow-control"),
    "backlog_plain_buffer": ("max_backlog", "plain-buffer", "flow-control"),
    "cost_no_flow_control": ("cost_usd_per_1000_orders", "no-flow-control", "flow-control"),
    "cost_plain_buffer": ("cost_usd_per_1000_orders", "plain-buffer", "flow-control"),
}
"""Figure, the variant whose mean is divided, and the one that divides it."""


def _ratios(figures: Mapping[str, Any]) -> dict[str, float | None]:
    def ratio(key: str, above: str, below: str) -> float | None:
        dividend, divisor = figures[above][key]["mean"], figures[below][key]["mean"]
        return dividend / divisor if dividend is not None and divisor else None

    shares = {
        f"{fate}_share_{variant.replace('-', '_')}": spread[fate]["mean"] / spread["accepted"]["mean"]
        for variant, spread in figures.items()
        for fate in ("delivered", "lost")
    }
    return {name: ratio(*quotient) for name, quotient in RATIOS.items()} | shares


CURVES: Mapping[str, Callable[[Mapping[str, Values]], Values]] = {
    "concurrency": lambda of: of["concurrency"],
    "success_per_minute": lambda of: _shares(_minutely(of["succeeded"]), _minutely(of["failed"])),
    "failed_per_minute": lambda of: _minutely(of["failed"]),
    "delivered": lambda of: list(accumulate(_number(value) for value in of["delivered"])),
    "delay_s": lambda of: of["p50_delay_s"],
    "backlog": lambda of: of["backlog"],
    "courier_calls_per_second": lambda of: [
        _number(calls) / BUCKET_S / MINUTE for calls in _minutely(of["courier_calls"])
    ],
}
"""How each curve is made of the twin's series."""

PER_MINUTE = ("success_per_minute", "failed_per_minute", "courier_calls_per_second")
"""Curves with a value for each minute; the others have one for every ten seconds."""


def _series(results: Sequence[Run]) -> dict[str, Any]:
    return {name: _curve(name, [make(result["series"]) for result in results]) for name, make in CURVES.items()}


def _curve(name: str, runs: Sequence[Values]) -> dict[str, Any]:
    """Combine a curve's runs; one that ended earlier than others keeps what its last moment left."""
    rest = [
        run[-1] if name == "delivered" else 0 if name not in ("success_per_minute", "delay_s") else None for run in runs
    ]
    length = max(len(run) for run in runs)
    padded = [list(run) + [end] * (length - len(run)) for run, end in zip(runs, rest, strict=True)]
    step = BUCKET_S * (MINUTE if name in PER_MINUTE else 1) / 60
    spreads = [_spread(list(values)) for values in zip(*padded, strict=True)]
    return {"minutes": [round(step * bucket, 4) for bucket in range(length)]} | {
        side: [spread[side] for spread in spreads] for side in ("mean", "lowest", "highest")
    }


def _minutely(values: Values) -> Values:
    columns = zip_longest(*[iter(values)] * MINUTE, fillvalue=0)
    return [sum(_number(value) for value in minute) for minute in columns]


def _shares(parts: Values, others: Values) -> Values:
    """Return part / (part + other); None where there was neither."""
    return [
        _number(part) / (_number(part) + _number(other)) if part or other else None
        for part, other in zip(parts, others, strict=True)
    ]


def _number(value: float | None) -> float:
    return value or 0
