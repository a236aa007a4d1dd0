"""The demonstration: both variants of the hub on this machine, under the same load, side by side."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest import artillery, picture, profiles, target
from loadtest.artillery import OUT
from loadtest.measure import Figures
from loadtest.profiles import Scale
from loadtest.progress import Board
from loadtest.run import Limits, Run, run
from local.gaps.emulator import MINISTACK_VERSION
from local.stack import VARIANTS, EmulatorSettings, RunningEmulator, Stack, StackError

SCALE = Scale(time=profiles.SHORT_TIME, rate=1 / 2)
"""18 minutes become 72 seconds; half as many orders, and half the courier's limit, are what two processor cores carry
without being the bottleneck themselves."""

SEED = 2024
POLL_S = 2.0
DRAIN_S = 300.0
LOG_DELAY_S = 3.0

ROWS: tuple[tuple[str, str, str], ...] = (
    ("sent", "orders sent", "{:,}"),
    ("accepted", "accepted (202)", "{:,}"),
    ("delivered", "delivered", "{:,}"),
    ("lost", "lost", "{:,}"),
    ("duplicates", "delivered twice", "{:,}"),
    ("dead_letters", "in dead-letter queues", "{:,}"),
    ("in_flight", "still on their way", "{:,}"),
    ("p50_delay_s", "delay, median", "{:.1f} s"),
    ("p95_delay_s", "delay, 95th percentile", "{:.1f} s"),
    ("courier_calls", "calls to the courier", "{:,}"),
    ("throttled_share", "of them throttled", "{:.1%}"),
    ("peak_concurrency", "peak concurrent executions", "{:,}"),
    ("worst_window_success", "worst success in 10 s", "{:.0%}"),
    ("invocations", "invocations", "{:,}"),
    ("billed_seconds_per_order", "billed seconds an order", "{:.2f} s"),
)
"""Key of a figure, what the table calls it, how it is written."""


def demo(console: Console, seed: int = SEED, scale: Scale = SCALE) -> int:
    """Deploy both variants here, load one after the other, and report. Returns the exit status.

    The status is 0 if flow control delivered every accepted order exactly once, 1 otherwise.

    Raises:
        StackError: If the emulator or a deployment fails, or the template lacks a parameter that
            the scale needs.
        ArtilleryError: If a load was not sent.
    """
    profile = profiles.load().scaled(scale, name="short")
    console.print(explanation(profile, scale), highlight=False)
    settings = EmulatorSettings(async_retry_base_seconds=profiles.LAMBDA_ASYNC_RETRY_WAIT[0] * scale.time)
    limits = Limits(
        poll_s=POLL_S,
        drain_s=DRAIN_S,
        async_retry_wait_s=max(profiles.LAMBDA_ASYNC_RETRY_WAIT) * scale.time,
        log_delay_s=LOG_DELAY_S,
    )
    parameters = scaled_parameters(scale)
    with RunningEmulator.start(settings, progress=console.print) as emulator:
        stacks = emulator.deploy_all({variant: VARIANTS[variant] | parameters for variant in VARIANTS})
        deployed = {variant: deployed_parameters(stack, parameters) for variant, stack in stacks.items()}
        runs: dict[str, Run] = {}
        with Board(console, tuple(stacks)) as board:
            for variant, stack in stacks.items():
                runs[variant] = run(stack, profile, seed, limits, board.row(variant))
                emulator.check()
    console.print(table({variant: result.measurement.figures for variant, result in runs.items()}))
    report = {variant: asdict(result.measurement.figures) for variant, result in runs.items()}
    report["meta"] = meta(seed, scale, profile, deployed, runs)
    (OUT / "demo.json").write_text(target.to_json(report))
    pictures = picture.draw(
        {variant: result.measurement for variant, result in runs.items()},
        profile,
        courier_rate=profiles.PUBLISHED_COURIER_RATE * scale.rate,
        folder=OUT,
    )
    return verdict(console, runs["flow-control"], [OUT / "demo.json", *pictures])


def scaled_parameters(scale: Scale) -> dict[str, str]:
    """Choose the template parameters, the same for both variants, that fit the courier to the scale.

    Whole calls for the burst. The courier's latency and failures stay as published. It does not
    recognise an order that it has seen, so that every duplicate has an effect and is counted.
    """
    shortest, longest = profiles.PUBLISHED_RETRY_WAIT
    courier_rate = profiles.PUBLISHED_COURIER_RATE * scale.rate
    return {
        "CourierRate": f"{courier_rate:g}",
        "CourierBurst": str(max(1, round(courier_rate))),
        "DirectRetryWaitMin": f"{shortest * scale.time:.3g}",
        "DirectRetryWaitMax": f"{longest * scale.time:.3g}",
        "SimulatorHonoursIdempotencyKey": "false",
    }


def deployed_parameters(stack: Stack, wanted: dict[str, str]) -> dict[str, str]:
    """Read back what a stack was deployed with; SAM drops parameters that a template lacks.

    Raises:
        StackError: If one of those wanted is missing.
    """
    found = target.parameters(stack)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise StackError(f"template.yaml has no parameter {', '.join(missing)}, which the demo's time scale needs")
    return found


def explanation(profile: profiles.Profile, scale: Scale) -> str:
    """Say in words what is going to run and how it differs from the published experiment."""
    published = profiles.load()
    retry_waits = [wait * scale.time for wait in profiles.LAMBDA_ASYNC_RETRY_WAIT]
    shortest, longest = (wait * scale.time for wait in profiles.PUBLISHED_RETRY_WAIT)
    return (
        f"The published load, {1 / scale.time:g} times shorter: {published.duration_s:,.0f} s become "
        f"{profile.duration_s:.0f} s, about {profile.orders:.0f} orders, up to {profile.peak_rate:g} a second.\n"
        f"The courier accepts {profiles.PUBLISHED_COURIER_RATE * scale.rate:g} calls a second, takes 0 to 2 s, and "
        "fails one call in five, as published.\n"
        "Shortened by the same factor: Lambda's waits before asynchronous retries "
        f"({' and '.join(f'{wait:g}' for wait in retry_waits)} s instead of 60 and 120 s), and the waits inside the "
        f"function without flow control ({shortest:.1f} to {longest:.1f} s instead of 3 to 8 s)."
    )


def table(figures: dict[str, Figures]) -> Table:
    """Put runs side by side, by name."""
    grid = Table(title="What became of the orders", title_justify="left")
    grid.add_column("")
    for name in figures:
        grid.add_column(name, justify="right")
    for key, label, form in ROWS:
        values = [getattr(figure, key) for figure in figures.values()]
        grid.add_row(label, *("-" if value is None else form.format(value) for value in values))
    return grid


def meta(
    seed: int,
    scale: Scale,
    profile: profiles.Profile,
    deployed: dict[str, dict[str, str]],
    runs: dict[str, Run],
) -> dict[str, Any]:
    """Everything that one needs to know to repeat or to read the figures."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "scale": asdict(scale),
        "phases": [asdict(phase) for phase in profile.phases],
        "async_retry_waits_s": [wait * scale.time for wait in profiles.LAMBDA_ASYNC_RETRY_WAIT],
        "parameters": deployed,
        "versions": {
            "artillery": artillery.version(),
            "aws-sam-cli": version("aws-sam-cli"),
            "ministack": MINISTACK_VERSION,
            "python": platform.python_version(),
        },
        "runs": {
            variant: run.measurement.meta() | {"artillery_thresholds_met": run.thresholds_met}
            for variant, run in runs.items()
        },
    }


def verdict(console: Console, flow_control: Run, files: list[Path]) -> int:
    """Say whether flow control kept its promise, and where the results are. Returns the exit status."""
    console.print("Written: " + ", ".join(str(file.relative_to(artillery.FOLDER.parent)) for file in files))
    figures = flow_control.measurement.figures
    if figures.delivered == figures.accepted and not figures.duplicates:
        console.print("[green]Flow control delivered every accepted order exactly once.[/green]")
        return 0
    console.print(
        f"[red]Flow control lost {figures.lost}, duplicated {figures.duplicates}, dead-lettered "
        f"{figures.dead_letters} and still holds {figures.in_flight} of {figures.accepted} accepted orders.[/red]"
    )
    return 1
