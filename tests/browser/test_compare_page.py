"""`make compare` in a headless Chromium, on a phone and on a desk, light and dark."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from loadtest import style
from loadtest.twin.report.pictures import PICTURES

ROOT = Path(__file__).parents[2]

LOOKS = [(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]

NO_BROWSER = 3
MISSING = """No browser could be started, so nobody has looked at the report.
`make setup` installs a Chromium that runs on Linux x64. Elsewhere, or if that one does not start, install Chromium or
Google Chrome, or say where it is: CHROMIUM=/path/of/chromium make test. What went wrong:
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Report:
    """What `make compare` wrote, and what the browser saw of it."""

    folder: Path
    document: dict[str, Any]
    looks: dict[tuple[int, str], dict[str, Any]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("compare")
    compare = [sys.executable, "-m", "loadtest.twin.report", "--seeds", "2", "--out", str(folder)]
    subprocess.run(compare, cwd=ROOT, check=True, timeout=240)
    looks = seen(folder / "compare.html")
    return Report(folder, json.loads((folder / "compare.json").read_text()), looks)


def seen(html: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Open a page in every look."""
    look = ["node", "tests/browser/look.mjs", str(html)]
    result = subprocess.run(look, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode:
        pytest.fail((MISSING if result.returncode == NO_BROWSER else "") + result.stderr, pytrace=False)
    return {(look["width"], look["colorScheme"]): look for look in json.loads(result.stdout)["looks"]}


@pytest.fixture(params=LOOKS, ids=[f"{width} px, {scheme}" for width, scheme in LOOKS])
def look(request: pytest.FixtureRequest, report: Report) -> dict[str, Any]:
    return report.looks[request.param]


def test_the_browser_complains_of_nothing_and_asks_for_nothing_but_the_page(
    look: dict[str, Any], report: Report
) -> None:
    assert look["complaints"] == []
    assert look["requests"] == [(report.folder / "compare.html").as_uri()]


def test_every_picture_is_there_once_with_a_sentence_and_all_its_lines(look: dict[str, Any]) -> None:
    theme = style.DARK if look["colorScheme"] == "dark" else style.LIGHT
    assert {figure["heading"] for figure in look["figures"]} == {picture.title for picture in PICTURES.values()}
    for figure in look["figures"]:
        (picture,) = figure["pictures"]
        assert picture["name"] == figure["heading"]
        assert figure["sentence"].endswith(".")
        assert picture["width"] >= 0.9 * min(look["width"] - 32, 896)
        assert picture["height"] >= 150
        assert picture["cutOff"] == []
        for variant, colour in theme.colours.items():
            assert rgb(colour) in picture["inks"], f"{variant} is missing in {figure['heading']!r}"


def test_text_in_pictures_is_large_enough_to_read(look: dict[str, Any]) -> None:
    for figure in look["figures"]:
        for picture in figure["pictures"]:
            assert picture["smallestText"] >= 11, f"pixels, in {figure['heading']!r}"


def test_numbers_equal_compare_json_to_the_last_digit_that_is_shown(look: dict[str, Any], report: Report) -> None:
    assert len(look["numbers"]) > 150
    for number in look["numbers"]:
        there = reduce(lambda part, key: part[key], number["path"].split("."), report.document)
        factor = 100 if "%" in number["text"] or "points" in number["text"] else 1
        digits = re.sub(r"[^\d.+-]", "", number["text"].replace("\N{MINUS SIGN}", "-"))
        half = 0.5 * 10 ** -len(digits.partition(".")[2])
        assert abs(float(digits) - there * factor) <= half * 1.000001, number
        assert float(number["value"]) == there
        assert number["shown"], number


def test_nothing_is_wider_than_the_screen(look: dict[str, Any]) -> None:
    assert look["pageWidth"] == look["width"]
    assert look["tooWide"] == []


def test_it_is_light_or_dark_as_people_have_chosen(look: dict[str, Any]) -> None:
    theme = style.DARK if look["colorScheme"] == "dark" else style.LIGHT
    assert look["background"] == rgb(theme.background)


def test_nothing_stands_in_the_way_of_people_with_a_screen_reader_or_weak_eyes(look: dict[str, Any]) -> None:
    """axe-core's rules: names, headings, tables, landmarks, contrast of text."""
    assert look["barriers"] == []


BROKEN = """<!doctype html><html lang="en"><head><title>Broken</title></head><body><main><h1>Broken</h1>
<script>console.error("broken")</script>
<img src="https://broken.invalid/picture.png" style="width: 2000px; height: 9px">
<section><h2>Empty</h2><figure>
<svg role="img" aria-label="None" viewBox="0 0 99 50" width="99"><text x="90" y="20" font-size="4">too far</text></svg>
<figcaption style="color: #eee; background: #fff">Too pale.</figcaption></figure></section></main></body></html>"""


def test_a_broken_page_is_noticed(tmp_path: Path) -> None:
    """Otherwise the tests above could pass because the browser is blind."""
    page = tmp_path / "broken.html"
    page.write_text(BROKEN)
    look = seen(page)[390, "light"]
    assert any("broken" in complaint for complaint in look["complaints"])
    assert "https://broken.invalid/picture.png" in look["requests"]
    assert look["pageWidth"] > 390
    assert look["tooWide"]
    assert {barrier.split(":")[0] for barrier in look["barriers"]} >= {"color-contrast", "image-alt"}
    ((picture,),) = (figure["pictures"] for figure in look["figures"])
    assert picture["inks"] == []
    assert picture["cutOff"] == ["too far"]
    assert picture["smallestText"] == 4


def rgb(colour: str) -> str:
    """A colour as the browser tells it."""
    return "rgb({}, {}, {})".format(*bytes.fromhex(colour.removeprefix("#")))
