"""Colours of the pictures: enough contrast, and told apart by the colour-blind."""

from __future__ import annotations

from itertools import combinations
from math import dist

import pytest

from loadtest.style import LINES, THEMES, Theme

Vector = tuple[float, float, float]

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# matrices for severity 1.0, on linear RGB.
EYES: dict[str, tuple[Vector, Vector, Vector]] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}

CLEARLY_DIFFERENT = 25.0
"""Distance in CIELAB; about 2 can just be noticed side by side, and lines of a picture lie apart."""


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("eyes", EYES)
def test_the_colours_of_the_variants_differ_for_everybody(theme: Theme, eyes: str) -> None:
    for (one, colour), (other, another) in combinations(theme.colours.items(), 2):
        distance = dist(lab(seen(colour, eyes)), lab(seen(another, eyes)))
        assert distance >= CLEARLY_DIFFERENT, f"{one} and {other} look alike to eyes with {eyes}: {distance:.0f}"


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
def test_lines_and_text_stand_out_from_the_background(theme: Theme) -> None:
    for background in (theme.background, theme.overload):
        assert contrast(theme.text, background) >= 7, "WCAG 2.2, 1.4.6: text"
        for variant, colour in theme.colours.items():
            assert contrast(colour, background) >= 3, f"WCAG 2.2, 1.4.11: the lines of {variant} on {background}"


def test_each_variant_has_a_line_style_of_its_own() -> None:
    assert len(set(LINES.values())) == len(LINES)
    for theme in THEMES:
        assert theme.colours.keys() == LINES.keys()


def linear(colour: str) -> Vector:
    def channel(at: int) -> float:
        value = int(colour[at : at + 2], 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    return channel(1), channel(3), channel(5)


def seen(colour: str, eyes: str) -> Vector:
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear(colour), strict=True)))) for row in EYES[eyes]
    )
    return red, green, blue


def luminance(colour: Vector) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def contrast(colour: str, background: str) -> float:
    dark, light = sorted((luminance(linear(colour)), luminance(linear(background))))
    return (light + 0.05) / (dark + 0.05)


def lab(colour: Vector) -> Vector:
    """CIELAB, under daylight D65."""
    red, green, blue = colour
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, luminance(colour), z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
