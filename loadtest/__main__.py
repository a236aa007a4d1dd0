"""Command line: `python -m loadtest run --stack NAME`, `… demo`, `… bench` and `… outage`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from loadtest import bench, demo, outage, profiles, target
from loadtest.artillery import ArtilleryError
from loadtest.profiles import Scale
from loadtest.progress import Board
from loadtest.run import Limits, run
from local.deployed import StackNotFoundError
from local.stack import StackError

console = Console(highlight=False)


def main() -> int:
    """Run one command. Returns the exit status."""
    arguments = parse()
    try:
        return int(arguments.command(arguments))
    except (ArtilleryError, StackError, StackNotFoundError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 2
    except KeyboardInterrupt:
        console.print("stopped")
        return 130


def parse() -> argparse.Namespace:
    """Read the command line; `command` is the command's function."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("run", help="load a deployed stack, wait until it has drained, and count")
    command.add_argument("--stack", required=True, help="name of the CloudFormation stack")
    command.add_argument(
        "--profile",
        choices=["published", "short"],
        default="published",
        help="published: 18 minutes, up to 15 orders a second; short: the same shape in 72 s",
    )
    command.add_argument("--time-scale", type=float, help="factor of all durations of the load")
    command.add_argument("--rate-scale", type=float, default=1.0, help="factor of all rates of the load")
    command.add_argument("--seed", type=int, default=int(time.time()), help="the same seed sends the same orders")
    command.add_argument("--drain-limit", type=float, default=3600.0, help="seconds to wait for the end")
    command.add_argument("--poll", type=float, default=5.0, help="seconds between two looks at the stack")
    command.add_argument("--json", type=Path, help="write figures and series to this file")
    command.set_defaults(command=run_command)

    command = commands.add_parser("demo", help="run both variants on this machine and compare them")
    command.add_argument("--seed", type=int, default=demo.SEED, help="the same seed sends the same orders")
    command.set_defaults(command=lambda arguments: demo.demo(console, arguments.seed))

    command = commands.add_parser("bench", help="measure delivery at the courier's limit on this machine")
    command.add_argument("--seed", type=int, default=demo.SEED, help="the same seed sends the same orders")
    command.set_defaults(command=lambda arguments: bench.bench(console, arguments.seed))

    command = commands.add_parser("outage", help="measure how the circuit breaker gets through an outage of 90 s")
    command.add_argument("--seed", type=int, default=demo.SEED, help="the same seed sends the same orders")
    command.set_defaults(command=lambda arguments: outage.outage(console, arguments.seed))
    return parser.parse_args()


def run_command(arguments: argparse.Namespace) -> int:
    """Load one stack. Returns 1 if an order was lost, or if a threshold of artillery was missed."""
    short = profiles.SHORT_TIME if arguments.profile == "short" else 1.0
    scale = Scale(time=arguments.time_scale or short, rate=arguments.rate_scale)
    profile = profiles.load().scaled(scale, name=arguments.profile)
    stack = target.CloudFormationStack.find(arguments.stack)
    limits = Limits(poll_s=arguments.poll, drain_s=arguments.drain_limit)
    console.print(
        f"{stack.name}: about {profile.orders:.0f} orders in {profile.duration_s:.0f} s, "
        f"up to {profile.peak_rate:g} a second, seed {arguments.seed}"
    )
    with Board(console, (stack.name,)) as board:
        result = run(stack, profile, arguments.seed, limits, board.row(stack.name))
    figures = result.measurement.figures
    console.print(demo.table({stack.name: figures}))
    if arguments.json:
        arguments.json.write_text(target.to_json(asdict(figures) | {"meta": result.measurement.meta()}))
    if not result.thresholds_met:
        console.print("[red]artillery's thresholds were missed: see loadtest/out/*.artillery.log[/red]")
    return int(figures.lost > 0 or not result.thresholds_met)


if __name__ == "__main__":
    sys.exit(main())
