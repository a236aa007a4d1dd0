"""How the project's pictures look: colours, line styles and type, for a light and a dark page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABELS = {
    "flow-control": "flow control",
    "plain-buffer": "plain buffer",
    "no-flow-control": "no flow control",
}
"""What people read for each variant, in the order in which legends and tables have them."""

LINES: Mapping[str, Any] = {"flow-control": "-", "plain-buffer": (0, (1, 1.2)), "no-flow-control": (0, (5, 1.4))}
"""Solid, dotted, dashed: the variants can be told apart without their colours."""


@dataclass(frozen=True)
class Theme:
    """Colours for one background.

    Blue and vermilion are those of Okabe and Ito, with a grey between them; tests/unit/loadtest/test_style.py
    holds them apart for the three kinds of colour blindness.

    Attributes:
        suffix: End of the names of this theme's files.
        background: Of the page and the axes.
        text: Of everything that is read.
        grid: Grid lines and axes.
        overload: Fill of the stretch in which orders arrive faster than the courier takes them.
        colours: Of each variant.
    """

    suffix: str
    background: str
    text: str
    grid: str
    overload: str
    colours: Mapping[str, str]


LIGHT = Theme(
    suffix="",
    background="#ffffff",
    text="#1f2328",
    grid="#d8dee4",
    overload="#eef1f4",
    colours={"flow-control": "#0072b2", "plain-buffer": "#555555", "no-flow-control": "#d55e00"},
)
DARK = Theme(
    suffix="-dark",
    background="#0d1117",
    text="#e6edf3",
    grid="#2d333b",
    overload="#1a2029",
    colours={"flow-control": "#56b4e9", "plain-buffer": "#c0c0c0", "no-flow-control": "#ff8c42"},
)
THEMES = (LIGHT, DARK)


def settings(theme: Theme) -> Any:
    """Return matplotlib's settings for a theme."""
    return {
        "figure.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.text,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": theme.text,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "font.size": 10,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "savefig.facecolor": theme.background,
        "text.color": theme.text,
        "xtick.color": theme.text,
        "ytick.color": theme.text,
    }
