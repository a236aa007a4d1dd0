"""The picture of a demonstration: concurrency and success of both variants over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest import style
from loadtest.executions import SUCCESS_WINDOW_S
from loadtest.measure import Measurement
from loadtest.profiles import Profile


def draw(runs: Mapping[str, Measurement], profile: Profile, courier_rate: float, folder: Path) -> list[Path]:
    """Draw demo.png and demo.svg for a light and a dark page.

    Args:
        runs: Measurement of each variant.
        profile: The load that was sent.
        courier_rate: Calls a second that the courier accepts.
        folder: Where to write.

    Returns:
        The files.
    """
    files: list[Path] = []
    for theme in style.THEMES:
        with mpl.rc_context(style.settings(theme)):
            figure = _figure(runs, profile, courier_rate, theme)
            for extension in ("png", "svg"):
                file = folder / f"demo{theme.suffix}.{extension}"
                figure.savefig(file, dpi=160)
                files.append(file)
    return files


def _figure(runs: Mapping[str, Measurement], profile: Profile, courier_rate: float, theme: style.Theme) -> Figure:
    figure = Figure(figsize=(8, 7.6), layout="constrained")
    concurrency, success, orders = figure.subplots(3, 1, sharex=True)
    end = max((at for run in runs.values() for at in run.delivered), default=profile.duration_s)
    for variant, run in runs.items():
        line: Any = {"color": theme.colours[variant], "linewidth": 1.8, "label": style.LABELS[variant]}
        concurrency.step(*_columns(run.concurrency), where="post", **line)
        success.plot(*_columns(_with_gaps(run.success)), **line)
        orders.step(*_counted(run.delivered, end), where="post", **line)
        if run.figures.lost:
            _name_loss(orders, run, end, theme.colours[variant])
    first = next(iter(runs.values()))
    orders.step(*_counted(first.accepted, end), where="post", color=theme.text, linewidth=1, linestyle=":")
    concurrency.set_title("Delivery executions running at the same time")
    concurrency.legend(loc="upper left", frameon=False)
    success.set_title(f"Invocations that succeeded, of those that ended in the last {SUCCESS_WINDOW_S:.0f} s")
    success.set_ylim(0, 1.04)
    success.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    orders.set_title("Orders delivered (dotted: accepted)")
    orders.set_xlabel("seconds since the first order")
    overload = profile.seconds_above(courier_rate)
    for axes in (concurrency, success, orders):
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        if overload:
            axes.axvspan(*overload, color=theme.overload, zorder=0)
    if overload:
        _name_overload(success, overload)
    return figure


def _name_overload(axes: Axes, overload: tuple[float, float]) -> None:
    axes.text(
        sum(overload) / 2,
        0.03,
        "orders arrive faster\nthan the courier takes them",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
        in_layout=False,
    )


def _name_loss(axes: Axes, run: Measurement, end: float, colour: str) -> None:
    axes.annotate(
        f"{run.figures.lost} orders lost",
        (end, run.figures.delivered),
        xytext=(0, -6),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=colour,
        in_layout=False,
    )


def _counted(moments: Sequence[float], end: float) -> tuple[list[float], list[int]]:
    """Count moments up, and keep the last count until the end."""
    return [*moments, end], [*range(1, len(moments) + 1), len(moments)]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Break the line where no window of the last seconds had enough attempts to tell."""
    broken: list[tuple[float, float]] = []
    for x, y in points:
        if broken and x - broken[-1][0] > SUCCESS_WINDOW_S:
            broken.append((broken[-1][0], float("nan")))
        broken.append((x, y))
    return broken
