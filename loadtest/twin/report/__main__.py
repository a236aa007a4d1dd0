"""Command line of the report: `python -m loadtest.twin.report`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loadtest.artillery import OUT
from loadtest.profiles import Profile
from loadtest.twin import phases
from loadtest.twin.report import comparison, page, pictures

SEEDS = 5


def main() -> int:
    """Run the twin, and write page, pictures and numbers. Returns the exit status."""
    arguments = parse()
    comparison.quieten()
    console = Console(highlight=False)
    try:
        profile = phases.load(arguments.profile)
        if profile.orders < 1:
            raise ValueError(f"the profile {profile.name} sends no order: there is nothing to compare")
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 2
    document = comparison.document(_runs(console, profile, arguments.seeds), profile)
    numbers, html = arguments.out / "compare.json", arguments.out / "compare.html"
    numbers.write_text(json.dumps(document, indent=1) + "\n")
    html.write_text(page.write(document))
    for file in (html, numbers, *pictures.save(document, arguments.out)):
        console.print(f"  {_shown(file)}", soft_wrap=True)
    console.print(f"Open {html.resolve().as_uri()} in a browser.", soft_wrap=True)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.twin.report", description=__doc__)
    parser.add_argument("--profile", default="published", help="published, short, or a YAML file with phases")
    parser.add_argument("--seeds", type=_seeds, default=SEEDS, help=f"runs of each variant, 1 to 100 (default {SEEDS})")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to")
    return parser.parse_args()


def _seeds(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 100, not {text!r}")
    return number


def _runs(console: Console, profile: Profile, seeds: int) -> dict[str, dict[int, comparison.Run]]:
    """Run everything, with a bar on a terminal and a line for each run elsewhere."""
    runs: dict[str, dict[int, comparison.Run]] = {variant: {} for variant in comparison.VARIANTS}
    total = len(runs) * seeds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"The {profile.name} profile in virtual time", total=total)
        workers = min(os.cpu_count() or 1, total)
        for done, (variant, seed, result) in enumerate(comparison.run(profile, range(1, seeds + 1), workers), 1):
            runs[variant][seed] = result
            progress.advance(task)
            if not console.is_terminal:
                console.print(f"{done}/{total} {variant}, seed {seed}: {result['delivered']:,} delivered")
    return runs


def _shown(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
