"""The benchmark: how close to the courier's limit delivery runs, and at what cost, as ratios from one run."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from loadtest import cold_start, demo, profiles, target
from loadtest.artillery import OUT
from loadtest.measure import Measurement
from loadtest.profiles import Scale
from loadtest.progress import Board
from loadtest.run import Limits, run
from local.stack import VARIANTS, EmulatorSettings, RunningEmulator

SCALE = Scale(time=profiles.SHORT_TIME)
"""The published rates and the published courier, in 72 seconds."""

SATURATING_BATCHES = 2
"""Saturation is when this many batches wait for each execution: whatever limits delivery then, it is not the load."""

TARGETS: dict[str, tuple[str, float]] = {
    "goodput_ratio": (">=", 0.95),
    "throttled_share": ("<=", 0.01),
    "billed_seconds_per_order": ("<=", 0.5),
    "peak_concurrency": ("<=", 4),
    "lost": ("<=", 0),
    "duplicates": ("<=", 0),
    "import_ratio.delivery": ("<=", 1.6),
}

MEANINGS = {
    "goodput_ratio": "deliveries a second in saturation, over the courier's limit (rate x success share)",
    "throttled_share": "share of all calls that the courier refused as too many",
    "billed_seconds_per_order": "billed seconds of DeliveryFunction for each delivered order",
    "peak_concurrency": "most executions of DeliveryFunction at a time",
    "lost": "accepted orders that are nowhere",
    "duplicates": "second effects at the courier",
    "layer_mib": "both layers together, unpacked, MiB",
}


def bench(console: Console, seed: int = demo.SEED) -> int:
    """Run the short profile at full rate against flow control on this machine, and print the figures.

    Returns:
        The exit status: 0 if every target is met.

    Raises:
        StackError: The emulator or the deployment failed.
        ArtilleryError: The load was not sent.
    """
    console.print("Import times of the handlers, each over `import boto3` with one client")
    ratios = cold_start.import_ratios()
    profile = profiles.load().scaled(SCALE, name="bench")
    limits = Limits(poll_s=demo.POLL_S, drain_s=demo.DRAIN_S, log_delay_s=demo.LOG_DELAY_S)
    with RunningEmulator.start(EmulatorSettings(), progress=console.print) as emulator:
        stack = emulator.deploy("bench", VARIANTS["flow-control"] | {"SimulatorHonoursIdempotencyKey": "false"})
        parameters = target.parameters(stack)
        with Board(console, (stack.name,)) as board:
            result = run(stack, profile, seed, limits, board.row(stack.name)).measurement
        emulator.check()
    figures = measure(result, parameters) | {"import_ratio": ratios, "layer_mib": cold_start.layer_mebibytes()}
    met = {name: _met(figures, name) for name in TARGETS}
    console.print(_table(figures, met))
    meta = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "seed": seed, "scale": asdict(SCALE)}
    OUT.mkdir(exist_ok=True)
    report = figures | {"meta": meta | {"parameters": parameters, "targets_met": met}}
    (OUT / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"Written: {(OUT / 'bench.json').relative_to(OUT.parent.parent)}")
    return int(not all(met.values()))


def measure(result: Measurement, parameters: dict[str, str]) -> dict[str, object]:
    """Work the benchmark's figures out of a run's."""
    batches = SATURATING_BATCHES * int(parameters["MaximumConcurrency"])
    waiting = batches * int(parameters["DeliveryBatchSize"])
    begin, end = saturated(result.accepted, result.delivered, waiting)
    delivered = bisect_right(result.delivered, end) - bisect_right(result.delivered, begin)
    calls = result.details.calls_by_outcome
    answered = calls.get("delivered", 0) + calls.get("unhealthy", 0)
    limit = float(parameters["CourierRate"]) * calls.get("delivered", 0) / answered
    billed = sum(result.billed_s)
    return {
        "goodput_ratio": round(delivered / (end - begin) / limit, 3),
        "saturated_seconds": round(end - begin, 1),
        "throttled_share": result.figures.throttled_share,
        "billed_seconds_per_order": round(billed / result.figures.delivered, 3),
        "peak_concurrency": result.figures.peak_concurrency,
        "lost": result.figures.lost,
        "duplicates": result.figures.duplicates,
    }


def saturated(accepted: Sequence[float], delivered: Sequence[float], waiting: int) -> tuple[float, float]:
    """Return when saturation began and ended: the longest stretch in which at least some orders waited.

    Args:
        accepted: When orders were accepted, in seconds, ascending.
        delivered: When orders were delivered, in seconds, ascending.
        waiting: How many orders must wait, 1 or more.

    Raises:
        ValueError: There was no such moment.
    """
    changes = sorted([(at, 1) for at in accepted] + [(at, -1) for at in delivered])
    longest = (0.0, 0.0)
    backlog, since = 0, None
    for at, change in changes:
        backlog += change
        if backlog >= waiting and since is None:
            since = at
        elif backlog < waiting and since is not None:
            longest = max(longest, (since, at), key=lambda stretch: stretch[1] - stretch[0])
            since = None
    if longest[0] == longest[1]:
        raise ValueError(f"never did {waiting} orders wait: the load did not saturate the courier")
    return longest


def _met(figures: dict[str, object], name: str) -> bool:
    value = _value(figures, name)
    comparison, bound = TARGETS[name]
    return value >= bound if comparison == ">=" else value <= bound


def _value(figures: dict[str, object], name: str) -> float:
    value: object = figures
    for step in name.split("."):
        value = value[step]  # type: ignore[index]
    return float(value)  # type: ignore[arg-type]


def _table(figures: dict[str, object], met: dict[str, bool]) -> Table:
    grid = Table(title="Delivery at the courier's limit", title_justify="left")
    for name, side in (("figure", "left"), ("value", "right"), ("target", "right"), ("", "left")):
        grid.add_column(name, justify=side)  # type: ignore[arg-type]
    ratios: dict[str, float] = figures["import_ratio"]  # type: ignore[assignment]
    names = [*MEANINGS, *(f"import_ratio.{name}" for name in ratios)]
    for name in names:
        comparison, bound = TARGETS.get(name, ("", None))
        aim = "" if bound is None else f"{comparison} {bound:g}"
        verdict = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[met.get(name)]
        meaning = MEANINGS.get(name, "time of import over `import boto3` with one client")
        grid.add_row(f"{name}\n[dim]{meaning}[/dim]", f"{_value(figures, name):g}", aim, verdict)
    return grid
