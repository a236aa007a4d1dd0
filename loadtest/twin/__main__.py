"""Command line of the twin: `python -m loadtest.twin run`, `… plan`, `… calibrate` and `… bench`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.twin import phases
from loadtest.twin.model import simulate
from loadtest.twin.result import Result
from loadtest.twin.scenario import ARRIVALS, Outage, Scenario
from loadtest.twin.settings import VARIANTS

console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False)


def main(words: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 2 for a question that cannot be answered."""
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)  # it reports on itself
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
    command.add_argument("--arrivals", choices=ARRIVALS, default="even", help="as artillery sends or customers come")
    command.add_argument("--json", metavar="FILE", help="write figures and series to a file, or to the output with -")
    command.set_defaults(command=run)
    return whole


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PARAMETER=VALUE",
        help="a parameter of template.yaml, such as MaximumConcurrency=5; can be given several times",
    )


def parameters(given: list[str]) -> dict[str, str]:
    """Read ``Parameter=Value``.

    Raises:
        ValueError: It has no equals sign.
    """
    for text in given:
        if "=" not in text:
            raise ValueError(f"--set takes PARAMETER=VALUE, not {text!r}")
    pairs = (text.partition("=") for text in given)
    return {name: value for name, _, value in pairs}


def run(arguments: argparse.Namespace) -> int:
    """Simulate one scenario."""
    scenario = Scenario(
        variant=arguments.variant,
        profile=phases.load(arguments.profile),
        seed=arguments.seed,
        parameters=parameters(arguments.set),
        outages=tuple(Outage.read(text) for text in arguments.outage),
        arrivals=arguments.arrivals,
    )
    result = simulate(scenario)
    if arguments.json == "-":
        sys.stdout.write(result.to_json())
        return 0
    console.print(table(result))
    if arguments.json:
        Path(arguments.json).write_text(result.to_json(), encoding="utf-8")
    return 0


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
