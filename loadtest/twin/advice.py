"""A plan in words, for the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from loadtest.twin.plan import Plan


def show(console: Console, plan: Plan) -> None:
    """Print what to set, what to expect and what is unsafe."""
    question, expected = plan.question, plan.expected
    console.print(
        f"{question.orders:g} orders a second for a courier that takes {question.rate:g} calls a second, answers in"
        f" {question.latency[0]:g} to {question.latency[1]:g} s and fails {question.failure_rate:.0%}: it can deliver"
        f" {question.capacity:.3g} a second, so it is used to {expected['utilisation']:.0%}.\n"
    )
    grid = Table(title="What to set", title_justify="left")
    for heading in ("setting", "value", "because"):
        grid.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=heading == "setting")
    for setting in plan.settings:
        grid.add_row(setting.name, setting.value, setting.reason)
    console.print(grid)
    console.print("\n[bold]What to expect[/bold]")
    for line in expectations(plan):
        console.print(f"- {line}", highlight=False)
    if plan.warnings:
        console.print("\n[bold red]What is unsafe[/bold red]")
        for warning in plan.warnings:
            console.print(f"- {warning}", markup=False, highlight=False)
    else:
        console.print("\n[green]Nothing about this is unsafe.[/green]")


def expectations(plan: Plan) -> list[str]:
    """Say what a day is like."""
    question, expected = plan.question, plan.expected
    lines = [
        f"Little's law: {question.calls:.3g} calls a second x {question.mean_latency:g} s ="
        f" {expected['calls_in_flight_by_littles_law']:g} calls in flight; in the twin"
        f" {expected['mean_executions']:g} executions were busy on average.",
    ]
    if expected["backlog_after_a_day"] is None:
        lines.append(
            f"Delay: half of the orders are with the courier within {_seconds(expected['p50_delay_s'])}, 95 % within"
            f" {_seconds(expected['p95_delay_s'])}; at most {expected['backlog']:,} wait at a time."
        )
    else:
        lines.append(
            f"After a day {expected['backlog_after_a_day']:,} orders wait, and the next one waits"
            f" {_seconds(expected['delay_after_a_day_s'])}."
        )
    cost = expected["cost_usd_per_day"]
    lines.append(
        f"Cost: {'-' if cost is None else f'{cost:,.2f}'} USD a day at list prices, without the courier;"
        f" {expected['billed_seconds_per_order'] or 0:.2f} billed seconds an order."
    )
    lines.append(
        f"The twin tried {_seconds(expected['simulated_hours'] * 3600)} with independent customers; a day is that,"
        " extended."
    )
    return lines


def _seconds(seconds: float | None) -> str:
    """Write a time for people."""
    if seconds is None:
        return "-"
    for size, name in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.1f} s"
