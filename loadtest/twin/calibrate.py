"""How far the twin is from what was measured: on AWS by the published run, here by recorded runs of the local stack.

No number in the model was fitted to these figures. What it assumes without a source is marked in ``constants``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from loadtest.profiles import Phase, Profile
from loadtest.twin import phases
from loadtest.twin.constants import Platform, PublishedFigures
from loadtest.twin.model import simulate
from loadtest.twin.result import Result
from loadtest.twin.scenario import Outage, Scenario
from local.translated import template_yaml

SEEDS = (1, 2, 3, 4, 5)
RECORDED_SEEDS = tuple(range(1, 21))
"""The short profile has few orders: chance weighs more, and a simulation takes a tenth of a second."""
TOLERANCE = 0.15
RECORDINGS = Path(__file__).with_name("recordings") / "short.json"
RECORDED = ("delivered", "p50_delay_s", "billed_seconds_per_order", "peak_concurrency")
"""Figures of a recorded run that the twin is held to."""

LOCAL_COLD_START_S = 0.1
"""On this machine execution environments are forks of one that is ready (README, What differs on this machine)."""

OUTAGE_DAY = Outage(300.0, 300.0 + 86_400.0)


@dataclass(frozen=True)
class Check:
    """One figure: what was measured or promised, what the twin says, and the bounds between which that must be.

    Attributes:
        against: Whose figure it is.
        figure: Its name.
        measured: Its value there; None for a target that nobody measured.
        twin: The twin's mean over several seeds.
        least: Lower bound of the twin's value.
        most: Upper bound.
    """

    against: str
    figure: str
    measured: float | None
    twin: float
    least: float
    most: float

    @property
    def met(self) -> bool:
        """Whether the twin is within the bounds."""
        return self.least <= self.twin <= self.most

    @property
    def deviation(self) -> float | None:
        """The twin's value over the measured one, less 1."""
        return self.twin / self.measured - 1 if self.measured else None


def checks(seeds: Sequence[int] = SEEDS) -> Iterator[Check]:
    """Yield every check, as it is worked out, of the mean of some seeds."""
    published = phases.load("published")
    runs = {variant: _runs(seeds, variant, published) for variant in ("no-flow-control", "plain-buffer")}
    yield from _published(runs)
    runs["flow-control"] = _runs(seeds, "flow-control", published)
    yield from _promised(runs)
    yield from _outage(_runs(seeds, "flow-control", published, outages=(OUTAGE_DAY,)))
    recordings = json.loads(RECORDINGS.read_text(encoding="utf-8"))
    for variant in recordings[0]["figures"]:
        yield from _recorded(variant, recordings)


def _runs(seeds: Sequence[int], variant: str, profile: Profile, **given: Any) -> list[Result]:
    return [simulate(Scenario(variant, profile, seed=seed, **given)) for seed in seeds]


def _mean(results: Sequence[Result], name: str) -> float:
    return float(mean(getattr(result, name) for result in results))


def _published(runs: Mapping[str, list[Result]]) -> Iterator[Check]:
    """Compare with the published run on AWS."""
    figures = PublishedFigures()
    free, buffered = runs["no-flow-control"], runs["plain-buffer"]
    against = "published, no-flow-control"
    yield _near(against, "peak_concurrency_of_account", figures.peak_concurrency, free)
    yield _near(against, "max_failed_per_minute", figures.failed_per_minute, free)
    worst = figures.worst_minute_success
    yield Check(against, "worst_minute_success", worst, _mean(free, "worst_minute_success"), worst - 0.05, worst + 0.05)
    against = "published, plain-buffer"
    yield _near(against, "peak_concurrency_of_account", figures.buffered_concurrency, buffered)
    success = _mean(buffered, "worst_minute_success")
    yield Check(against, "worst_minute_success", figures.buffered_success, success, figures.buffered_success, 1.0)


def _near(against: str, figure: str, measured: float, results: Sequence[Result]) -> Check:
    twin = _mean(results, figure)
    return Check(against, figure, measured, twin, measured * (1 - TOLERANCE), measured * (1 + TOLERANCE))


def _promised(runs: Mapping[str, list[Result]]) -> Iterator[Check]:
    """Hold flow control on the published load to what it promises."""
    results, buffered = runs["flow-control"], runs["plain-buffer"]
    against = "promise, flow-control"
    yield Check(against, "lost", None, _mean(results, "lost"), 0, 0)
    drain = mean(result.drain_s / (result.fluid_limit_drain_s or 1.0) for result in results)
    yield Check(against, "drain over fluid limit", None, drain, 1.0, 1.12)
    yield Check(against, "goodput_ratio", None, _mean(results, "goodput_ratio"), 0.98, 1.02)
    yield Check(against, "throttled_share", None, _mean(results, "throttled_share"), 0, 0.01)
    delay = _mean(results, "p50_delay_s") / _mean(buffered, "p50_delay_s")
    yield Check(against, "median delay over plain-buffer's", None, delay, 0, 0.25)
    yield Check(against, "billed_seconds_per_order", None, _mean(results, "billed_seconds_per_order"), 0, 0.45)


def _outage(results: Sequence[Result]) -> Iterator[Check]:
    """Hold flow control to its promise for an outage of a whole day."""
    against = "promise, outage of a day"
    yield Check(against, "lost", None, _mean(results, "lost"), 0, 0)
    yield Check(against, "dead_letters", None, _mean(results, "dead_letters"), 0, 0)
    yield Check(against, "throttled after the outage", None, mean(map(_throttled_after, results)), 0, 0)
    yield Check(against, "calls a second after it, of 10 s", None, max(map(_rate_after, results)), 0, _limit())


def _throttled_after(result: Result) -> float:
    return sum(result.series["throttled"][_bucket_after(result) :])  # type: ignore[arg-type]


def _rate_after(result: Result) -> float:
    """Return the most calls a second after the outage, in any ten seconds."""
    calls: list[Any] = result.series["courier_calls"][_bucket_after(result) :]
    return float(max(calls) / 10.0)


def _bucket_after(result: Result) -> int:
    return next(index for index, at in enumerate(result.series["t"]) if at >= OUTAGE_DAY.end)  # type: ignore[operator]


def _limit() -> float:
    """Return the courier's limit in calls a second, with what ten seconds may hold of its burst."""
    parameters = template_yaml().parameters
    return float(parameters["CourierRate"]["Default"]) + float(parameters["CourierBurst"]["Default"]) / 10.0


# ---------------------------------------------------------------------------------------- recordings of runs here


def _recorded(variant: str, recordings: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Compare with the mean of the recorded runs, which differ by chance as the twin's seeds do."""
    first = recordings[0]
    profile = Profile("short", tuple(Phase(**phase) for phase in first["phases"]))
    platform = Platform(async_retry_waits=tuple(first["async_retry_waits_s"]), cold_start=LOCAL_COLD_START_S)
    results = _runs(RECORDED_SEEDS, variant, profile, parameters=first["parameters"], platform=platform)
    for figure in RECORDED:
        measured = mean(recording["figures"][variant][figure] for recording in recordings)
        yield _near(f"local stack, {variant}", figure, measured, results)


def record(report: Path) -> int:
    """Add a run of `make demo` (its JSON report) to the recordings, and return how many there are.

    Raises:
        ValueError: The run was another experiment than those recorded before (other load, parameters or clock), or the
            machine was too busy for it.
    """
    recordings = json.loads(RECORDINGS.read_text(encoding="utf-8")) if RECORDINGS.exists() else []
    new = recording(json.loads(report.read_text(encoding="utf-8")))
    for name in ("phases", "parameters", "async_retry_waits_s"):
        if recordings and recordings[0][name] != new[name]:
            raise ValueError(f"{report} has other {name} than the recordings; remove {RECORDINGS} to begin anew")
    recordings = [each for each in recordings if each["date"] != new["date"]] + [new]
    RECORDINGS.parent.mkdir(exist_ok=True)
    RECORDINGS.write_text(json.dumps(recordings, indent=1) + "\n", encoding="utf-8")
    return len(recordings)


def recording(report: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what the twin needs of a report: the experiment and its figures, without series."""
    meta = report["meta"]
    variants = [name for name in report if name != "meta"]
    for variant in variants:
        # The courier answers long before the time-out, so an answer that nobody got was held up by the machine.
        unheard = report[variant]["delivered"] - meta["runs"][variant]["calls_by_outcome"]["delivered"]
        if unheard > 0:
            raise ValueError(f"the machine was too busy: {unheard} answers of the courier came too late ({variant})")
    rules = template_yaml().parameters
    differing = {
        name: value
        for name, value in meta["parameters"][variants[0]].items()
        if name in rules and name != "FlowControl" and str(rules[name].get("Default")) != value
    }
    kept = ("date", "seed", "phases", "async_retry_waits_s", "versions")
    return {name: meta[name] for name in kept} | {
        "parameters": dict(sorted(differing.items())),
        "figures": {variant: report[variant] for variant in variants},
    }
