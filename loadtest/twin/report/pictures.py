"""Draws compare.json: as pictures of the page, which take its colours and fit a phone or a desk, and as files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MultipleLocator

from loadtest import style
from loadtest.style import Theme

Document = Mapping[str, Any]

VARIANTS = tuple(style.LABELS)


@dataclass(frozen=True)
class Picture:
    """One picture of the report.

    Attributes:
        name: Of its files and its place in the page.
        title: What it shows, and in which unit.
        panels: Axes that it has, one above the other.
        height: Of a panel, in inches.
        draw: Fills the axes.
    """

    name: str
    title: str
    draw: Callable[[list[Axes], Document, Theme], None]
    panels: int = 1
    height: float = 2.5


WIDE, NARROW = 8.0, 3.7
"""Inches: a picture of the page for a desk, and the one for a phone. A CSS pixel is 1/96 inch."""


def inline(picture: Picture, document: Document, width: float) -> str:
    """Return a picture as an SVG element whose colours are the page's CSS variables, and whose text is text."""
    theme = style.LIGHT
    with mpl.rc_context(style.settings(theme) | {"svg.fonttype": "none", "svg.hashsalt": f"{picture.name} {width}"}):
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        _figure([picture], document, theme, width, titled=False).savefig(
            file, format="svg", transparent=True, metadata=nothing
        )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _with_names_of_its_own(svg, f"{picture.name}-{width:g}".replace(".", "-"))
    for colour, variable in variables(theme).items():
        svg = svg.replace(colour, f"var({variable})")
    kind = "wide" if width == WIDE else "narrow"
    size = re.compile(r' width="[\d.]+pt" height="[\d.]+pt"')
    label = f'<svg class="{kind}" role="img" aria-label="{escape(picture.title)}"'
    return size.sub("", svg, count=1).replace("<svg", label, 1)


def variables(theme: Theme) -> dict[str, str]:
    """Return the name of the CSS variable for each colour of a theme."""
    names = {"background": theme.background, "text": theme.text, "grid": theme.grid, "overload": theme.overload}
    return {colour: f"--{name}" for name, colour in (names | dict(theme.colours)).items()}


def _with_names_of_its_own(svg: str, prefix: str) -> str:
    """Keep the ids that are referred to, made unique in a page of several pictures, and drop the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)


def save(document: Document, folder: Path) -> list[Path]:
    """Draw the summary for a README, twin.png and twin-dark.png, and return the files."""
    files = []
    for theme in style.THEMES:
        with mpl.rc_context(style.settings(theme)):
            file = folder / f"twin{theme.suffix}.png"
            _figure([PICTURES[name] for name in SUMMARY], document, theme, WIDE, titled=True).savefig(file, dpi=160)
            files.append(file)
    return files


def _figure(pictures: list[Picture], document: Document, theme: Theme, width: float, *, titled: bool) -> Figure:
    rows = [(picture.height, picture) for picture in pictures for _ in range(picture.panels)]
    spare = 0.25 * len(pictures) if titled else 0.0
    legend = 0.35
    size = (width, sum(height for height, _ in rows) + spare + legend)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.04))
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=[height for height, _ in rows])[:, 0].tolist()
    for axes in panels:
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
    left = list(panels)
    for picture in pictures:
        own, left = left[: picture.panels], left[picture.panels :]
        picture.draw(own, document, theme)
        if titled:
            own[0].set_title(picture.title)
    for axes in panels[:-1]:
        axes.set_xlabel("")
    _legend(figure, panels, width)
    return figure


def _legend(figure: Figure, panels: list[Axes], width: float) -> None:
    """Name the lines above the picture, if it has any."""
    lined = [axes for axes in panels if axes.lines]
    if lined:
        handles, labels = lined[0].get_legend_handles_labels()
        small: Any = {} if width == WIDE else {"fontsize": 9, "handlelength": 1.4, "columnspacing": 1.4}
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, borderpad=0, **small)


# ------------------------------------------------------------------------------------------------------ over time


def _over_time(axes: Axes, document: Document, theme: Theme, curve: str) -> None:
    """Draw a curve of each variant: the mean of the seeds, and from the lowest to the highest."""
    for variant in VARIANTS:
        line = document["series"][variant][curve]
        minutes = list(line["minutes"])
        mean, lowest, highest = ([_gap(value) for value in line[side]] for side in ("mean", "lowest", "highest"))
        if curve == "delivered":  # it stays what it was when the run ended
            minutes.append(_longest(document))
            mean, lowest, highest = ([*values, values[-1]] for values in (mean, lowest, highest))
        colour = theme.colours[variant]
        axes.fill_between(minutes, lowest, highest, color=colour, alpha=0.2, linewidth=0)
        axes.plot(minutes, mean, color=colour, linestyle=style.LINES[variant], linewidth=2, label=style.LABELS[variant])
    _time(axes, document, theme)


def _longest(document: Document) -> float:
    """Return the minutes until the last run of all has ended."""
    return float(max(document["series"][variant]["backlog"]["minutes"][-1] for variant in VARIANTS))


def _gap(value: float | None) -> float:
    return float("nan") if value is None else value


def _time(axes: Axes, document: Document, theme: Theme) -> None:
    """Set the axis of time, and shade the overload."""
    load = document["load"]
    longest = _longest(document)
    axes.set_xlim(0, longest)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MultipleLocator(10 if longest > 25 else 5 if longest > 8 else 1))
    axes.set_xlabel("minutes since the first order")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if load["overload_minutes"]:
        axes.axvspan(*load["overload_minutes"], color=theme.overload, linewidth=0, zorder=0)


def _reference(axes: Axes, theme: Theme, value: float, text: str, *, above: bool = True) -> None:
    """Draw a level to compare with, and say what it is."""
    axes.axhline(value, color=theme.text, linewidth=0.8, zorder=1.5)
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3 if above else -3),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        fontsize=9,
        in_layout=False,
    )


def _published(document: Document, figure: str) -> list[float]:
    """Return what the published run without flow control measured; nothing if the load was another."""
    return [document["published"]["no-flow-control"][figure]] if document["published"] else []


def _concurrency(panels: list[Axes], document: Document, theme: Theme) -> None:
    (axes,) = panels
    _over_time(axes, document, theme, "concurrency")
    axes.set_yscale("symlog", linthresh=1, linscale=0.4)
    for published in _published(document, "peak_concurrency_of_account"):
        _reference(axes, theme, published, f"published, all functions: {published:,.0f}")
    axes.set_yticks([0, 1, 10, 100, 1000])
    axes.set_ylim(0, 2500)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()


def _success(panels: list[Axes], document: Document, theme: Theme) -> None:
    success, failed = panels
    _over_time(success, document, theme, "success_per_minute")
    success.set_ylim(0, 1.06)
    success.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.0f} %"))
    success.tick_params(labelbottom=False)
    for worst in _published(document, "worst_minute_success"):
        _reference(success, theme, worst, f"published worst minute: {worst * 100:.0f} %", above=False)
    _over_time(failed, document, theme, "failed_per_minute")
    for most in _published(document, "max_failed_per_minute"):
        failed.set_ylim(0, max(failed.get_ylim()[1], most * 1.2))
        _reference(failed, theme, most, f"published: {most:,.0f}")
    success.set_ylabel("succeeded")
    failed.set_ylabel("failed a minute")


def _delivered(panels: list[Axes], document: Document, theme: Theme) -> None:
    (axes,) = panels
    _over_time(axes, document, theme, "delivered")
    orders = document["figures"]["flow-control"]["orders"]["mean"]
    axes.set_ylim(0, orders * 1.15)
    _reference(axes, theme, orders, f"orders sent: {orders:,.0f}")
    for variant in VARIANTS:
        lost = document["figures"][variant]["lost"]["mean"]
        if round(lost):
            end = document["series"][variant]["delivered"]["mean"][-1]
            axes.annotate(
                f"{lost:,.0f} lost",
                (1, end),
                xycoords=("axes fraction", "data"),
                xytext=(-2, -4),
                textcoords="offset points",
                ha="right",
                va="top",
                weight="bold",
                in_layout=False,
            )


def _delay(panels: list[Axes], document: Document, theme: Theme) -> None:
    _over_time(panels[0], document, theme, "delay_s")
    panels[0].set_ylabel("seconds")


def _backlog(panels: list[Axes], document: Document, theme: Theme) -> None:
    _over_time(panels[0], document, theme, "backlog")
    panels[0].set_ylabel("orders")


def _courier(panels: list[Axes], document: Document, theme: Theme) -> None:
    (axes,) = panels
    _over_time(axes, document, theme, "courier_calls_per_second")
    limit = document["load"]["courier_calls_per_second"]
    _reference(axes, theme, limit, f"the courier's limit: {limit:,.0f}")
    axes.set_ylabel("calls a second")


# ----------------------------------------------------------------------------------------------------------- money


def _cost(panels: list[Axes], document: Document, theme: Theme) -> None:
    (axes,) = panels
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    totals = {variant: document["figures"][variant]["cost_usd_per_1000_orders"] for variant in VARIANTS}
    for row, variant in enumerate(VARIANTS):
        colour, total = theme.colours[variant], totals[variant]["mean"]
        functions = document["costs"][variant]["lambda"]["mean"]
        axes.barh(row, functions, color=colour, height=0.62)
        axes.barh(
            row,
            total - functions,
            left=functions,
            height=0.62,
            facecolor=theme.background,
            edgecolor=colour,
            hatch="////",
            linewidth=1.2,
        )
        axes.annotate(f"${total:.3f}", (total, row), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(VARIANTS)), [style.LABELS[variant] for variant in VARIANTS])
    axes.invert_yaxis()
    axes.set_xlim(0, max(total["mean"] for total in totals.values()) * 1.18)
    axes.set_xticks([])
    axes.set_xlabel("filled: Lambda; hatched: all other services")


PICTURES: Mapping[str, Picture] = {
    picture.name: picture
    for picture in (
        Picture("delivered", "Orders delivered", _delivered),
        Picture("concurrency", "Executions of the delivery function at the same time (logarithmic)", _concurrency),
        Picture("success", "Invocations of the delivery function, by minute", _success, panels=2, height=1.9),
        Picture("delay", "Median delay of the orders delivered at a moment, in seconds", _delay),
        Picture("backlog", "Orders that wait", _backlog),
        Picture("courier", "Calls to the courier, a second", _courier),
        Picture("cost", "US dollars for a thousand orders", _cost, height=1.7),
    )
}

SUMMARY = ("delivered", "concurrency", "courier")
"""The pictures of the README."""
