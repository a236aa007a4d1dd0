"""Command line of the twin: `python -m loadtest.twin run`, `… plan`, `… calibrate` and `… bench`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from loadtest.twin import advice, calibrate, phases, speed
from loadtest.twin.constants import assume
from loadtest.twin.model import simulate
from loadtest.twin.plan import Question, plan
from loadtest.twin.result import Result
from loadtest.twin.scenario import ARRIVALS, Outage, Scenario
from loadtest.twin.settings import VARIANTS

MOST_HOURS = 24 * 31
console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False)


def main(words: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 2 for a question that cannot be answered."""
    arguments = parser().parse_args(words)
    try:
        return int(arguments.command(arguments))
    except (ValueError, OSError) as error:
        complaints.print(str(error), style="red", markup=False, emoji=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        complaints.print("stopped")
        return 130


def parser() -> argparse.ArgumentParser:
    """Describe the command line; `command` is the command's function."""
    whole = argparse.ArgumentParser(prog="python -m loadtest.twin", description=__doc__)
    commands = whole.add_subparsers(required=True)
    command = commands.add_parser("run", help="simulate one variant under a load")
    command.add_argument("--variant", choices=VARIANTS, default="flow-control")
    command.add_argument("--profile", default="published", help="published, short, or a YAML file with phases")
    command.add_argument("--seed", type=int, default=1, help="the same seed gives the same JSON, byte for byte")
    _add_set(command)
    command.add_argument(
        "--outage",
        action="append",
        default=[],
        metavar="BEGIN:END[:MODE]",
        help="the courier fails from second BEGIN to END; MODE is one of the simulator's (outage, hang, slow, …)",
    )
    command.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value for a fact about AWS (loadtest/twin/constants.py), such as mapping_change=10",
    )
    command.add_argument("--arrivals", choices=ARRIVALS, default="even", help="as artillery sends or customers come")
    command.add_argument("--json", metavar="FILE", help="write figures and series to a file, or to the output with -")
    command.set_defaults(command=run)

    command = commands.add_parser("plan", help="size the hub for a courier of your own")
    command.add_argument("--orders-per-second", type=float, required=True, help="what the shop sends, on average")
    command.add_argument("--courier-rate", type=float, required=True, help="calls a second that the courier accepts")
    command.add_argument("--courier-burst", type=float, help="calls at once that it accepts; else as many as a second")
    command.add_argument("--courier-latency", default="0,2", metavar="LEAST,MOST", help="seconds that it takes")
    command.add_argument("--failure-rate", type=float, default=0.2, help="share of its answers that are failures")
    command.add_argument("--hours", type=float, default=1.0, help="how long the twin tries it")
    command.add_argument("--seed", type=int, default=1)
    _add_set(command)
    command.add_argument("--json", metavar="FILE", help="write the plan to a file, or to the output with -")
    command.set_defaults(command=make_plan)

    command = commands.add_parser("calibrate", help="compare the twin with what was measured")
    command.add_argument("--record", type=Path, metavar="DEMO_JSON", help="first add a run of make demo")
    command.set_defaults(command=compare)

    command = commands.add_parser("bench", help="measure how fast the twin is, and how its time and memory grow")
    command.set_defaults(command=bench)
    return whole


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PARAMETER=VALUE",
        help="a parameter of template.yaml, such as MaximumConcurrency=5; can be given several times",
    )


def named(option: str, given: list[str]) -> dict[str, str]:
    """Read ``Name=Value``.

    Raises:
        ValueError: It has no equals sign.
    """
    for text in given:
        if "=" not in text:
            raise ValueError(f"{option} takes NAME=VALUE, not {text!r}")
    pairs = (text.partition("=") for text in given)
    return {name: value for name, _, value in pairs}


def run(arguments: argparse.Namespace) -> int:
    """Simulate one scenario."""
    scenario = Scenario(
        variant=arguments.variant,
        profile=phases.load(arguments.profile),
        seed=arguments.seed,
        parameters=named("--set", arguments.set),
        outages=tuple(Outage.read(text) for text in arguments.outage),
        arrivals=arguments.arrivals,
        platform=assume(named("--assume", arguments.assume)),
    )
    with complaints.status(f"simulating {scenario.profile.orders:,.0f} orders"):
        result = simulate(scenario)
    _answer(arguments.json, result.to_json(), lambda: console.print(table(result)))
    return 0


def make_plan(arguments: argparse.Namespace) -> int:
    """Answer how to size the hub."""
    try:
        least, most = (float(part) for part in arguments.courier_latency.split(","))
    except ValueError:
        raise ValueError(f"--courier-latency takes LEAST,MOST seconds, not {arguments.courier_latency!r}") from None
    if not 0 < arguments.hours <= MOST_HOURS:
        raise ValueError(f"--hours must be above 0, at most {MOST_HOURS}, not {arguments.hours:g}")
    rate = arguments.courier_rate
    burst = max(1.0, round(rate)) if arguments.courier_burst is None else arguments.courier_burst
    question = Question(arguments.orders_per_second, rate, (least, most), arguments.failure_rate, burst)
    with complaints.status(f"simulating {arguments.hours:g} h"):
        answer = plan(question, named("--set", arguments.set), hours=arguments.hours, seed=arguments.seed)
    _answer(arguments.json, answer.to_json(), lambda: advice.show(console, answer))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Print each calibrated figure and its deviation. Returns 1 if one is beyond its bounds."""
    if arguments.record:
        console.print(f"{calibrate.record(arguments.record)} runs of the local stack are recorded")
    grid = Table(
        title="The twin against what was measured, and promised",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("figure", "measured", "twin", "deviation", "bounds", ""):
        grid.add_column(heading, justify="left" if heading in ("figure", "") else "right", overflow="fold")
    met, group = True, ""
    with console.status("simulating") as status:
        for check in calibrate.checks():
            status.update(f"{check.against}: {check.figure}")
            met = met and check.met
            if check.against != group:
                group = check.against
                grid.add_section()
                grid.add_row(f"[bold]{group}[/bold]")
            grid.add_row(
                check.figure,
                "" if check.measured is None else f"{check.measured:,.4g}",
                f"{check.twin:,.4g}",
                "" if check.deviation is None else f"{check.deviation:+.1%}",
                f"{check.least:,.4g} to {check.most:,.4g}",
                "[green]met[/green]" if check.met else "[red]missed[/red]",
            )
    console.print(grid)
    return int(not met)


def bench(_arguments: argparse.Namespace) -> int:
    """Print times and memory. Returns 1 if a target is missed."""
    met = True
    for variant in VARIANTS:
        seconds = speed.command_seconds(variant)
        met = met and seconds <= speed.PUBLISHED_S
        console.print(f"{variant}, published profile: {seconds:.1f} s (target: {speed.PUBLISHED_S:g} s)")
    grid = Table(title="Growth: the published shape, stretched in time", title_justify="left")
    for heading in ("variant", "orders", "seconds", "µs an order", "MiB", "bytes an order"):
        grid.add_column(heading, justify="left" if heading == "variant" else "right")
    smallest: speed.Speed | None = None
    for each in speed.growth():
        console.print(f"{each.variant}, {each.orders:,} orders: {each.seconds:.1f} s, {each.mebibytes:.0f} MiB")
        grid.add_row(
            each.variant,
            f"{each.orders:,}",
            f"{each.seconds:.1f}",
            f"{each.microseconds_per_order:.0f}",
            f"{each.mebibytes:.0f}",
            f"{each.bytes_per_order:.0f}",
        )
        if smallest is None or each.variant != smallest.variant:
            smallest = each
        met = met and each.seconds <= speed.LARGEST_S and each.mebibytes <= speed.LARGEST_MIB
        met = met and each.microseconds_per_order <= speed.GROWTH * smallest.microseconds_per_order
    console.print(grid)
    return int(not met)


def _answer(file: str | None, text: str, show: Callable[[], None]) -> None:
    """Write JSON to the output, or show the answer to people and write JSON to a file if there is one."""
    if file == "-":
        sys.stdout.write(text)
        return
    show()
    if file:
        Path(file).write_text(text, encoding="utf-8")


ROWS: tuple[tuple[str, str, str], ...] = (
    ("orders", "orders sent", "{:,}"),
    ("accepted", "accepted (202)", "{:,}"),
    ("delivered", "delivered", "{:,}"),
    ("lost", "lost", "{:,}"),
    ("dead_letters", "in dead-letter queues", "{:,}"),
    ("waiting", "still on their way", "{:,}"),
    ("duplicates", "delivered twice", "{:,}"),
    ("p50_delay_s", "delay, median", "{:,.1f} s"),
    ("p95_delay_s", "delay, 95th percentile", "{:,.1f} s"),
    ("max_backlog", "most orders waiting", "{:,}"),
    ("drain_s", "drained after the load", "{:,.0f} s"),
    ("fluid_limit_drain_s", "no system could before", "{:,.0f} s"),
    ("goodput_ratio", "of the courier's limit used", "{:.1%}"),
    ("courier_calls", "calls to the courier", "{:,}"),
    ("throttled_share", "of them throttled", "{:.1%}"),
    ("peak_calls_per_second", "most calls in a second", "{:,}"),
    ("peak_calls_per_second_recovered", "the same after the outage", "{:,}"),
    ("peak_concurrency", "peak concurrent executions", "{:,}"),
    ("peak_concurrency_of_account", "the same, all functions", "{:,}"),
    ("worst_minute_success", "worst minute's success", "{:.0%}"),
    ("max_failed_per_minute", "most failed in a minute", "{:,}"),
    ("invocations", "invocations", "{:,}"),
    ("billed_seconds_per_order", "billed seconds an order", "{:.2f} s"),
    ("cost_usd_per_1000_orders", "price of 1,000 orders", "{:.4f} USD"),
    ("time_to_open_s", "circuit open after", "{:,.0f} s"),
    ("time_to_recover_s", "circuit closed after", "{:,.0f} s"),
)
"""Key of a figure, what the table calls it, how it is written."""


def table(result: Result) -> Table:
    """Show a result; figures that do not apply are left out."""
    title = f"{result.scenario['variant']}, {result.scenario['profile']['name']}, seed {result.scenario['seed']}"
    grid = Table(title=title, title_justify="left", show_header=False)
    grid.add_column()
    grid.add_column(justify="right")
    for key, label, form in ROWS:
        value = getattr(result, key)
        if value is not None:
            grid.add_row(label, form.format(value))
    return grid


if __name__ == "__main__":
    sys.exit(main())
