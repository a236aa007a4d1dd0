"""The report: one document with all numbers, and a page and pictures that show nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loadtest import style
from loadtest.twin import phases
from loadtest.twin.report import __main__ as command
from loadtest.twin.report import comparison, page, pictures

SHORT = phases.load("short")
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[int, comparison.Run]]:
    """What the twin says about a short load."""
    results: dict[str, dict[int, comparison.Run]] = {variant: {} for variant in comparison.VARIANTS}
    for variant, seed, result in comparison.run(SHORT, SEEDS, workers=1):
        results[variant][seed] = result
    return results


@pytest.fixture(scope="module")
def document(runs: dict[str, dict[int, comparison.Run]]) -> dict[str, Any]:
    return comparison.document(runs, SHORT)


@pytest.fixture(scope="module")
def html(document: dict[str, Any]) -> str:
    return page.write(document)


# ----------------------------------------------------------------------------------------------------- the numbers


def test_every_figure_of_the_twin_is_there_with_its_runs(
    runs: dict[str, dict[int, comparison.Run]], document: dict[str, Any]
) -> None:
    for variant, results in runs.items():
        for key, value in results[1].items():
            if isinstance(value, int | float):
                spread = document["figures"][variant][key]
                assert spread["runs"] == [results[seed][key] for seed in SEEDS]
                assert spread["lowest"] <= spread["mean"] <= spread["highest"]
                assert spread["mean"] == pytest.approx(sum(spread["runs"]) / len(SEEDS))
        assert sum(service["mean"] for service in document["costs"][variant].values()) == pytest.approx(
            document["figures"][variant]["cost_usd_per_1000_orders"]["mean"], abs=1e-5
        )


def test_series_and_figures_tell_the_same_story(document: dict[str, Any]) -> None:
    for variant, series in document["series"].items():
        figures = document["figures"][variant]
        assert series["delivered"]["mean"][-1] == figures["delivered"]["mean"]
        assert series["delivered"]["lowest"][-1] == figures["delivered"]["lowest"]
        assert max(series["concurrency"]["highest"]) == figures["peak_concurrency"]["highest"]
        assert max(series["failed_per_minute"]["highest"]) == figures["max_failed_per_minute"]["highest"]
        calls = sum(series["courier_calls_per_second"]["mean"]) * 60
        assert calls == pytest.approx(figures["courier_calls"]["mean"])


def test_a_run_that_ended_earlier_counts_as_what_it_left() -> None:
    curve = comparison._curve("delivered", [[1, 5], [1, 2, 3]])
    assert curve == {"minutes": [0, 0.1667, 0.3333], "mean": [1, 3.5, 4], "lowest": [1, 2, 3], "highest": [1, 5, 5]}
    assert comparison._curve("backlog", [[4], [4, 2]])["mean"] == [4, 1]
    assert comparison._curve("delay_s", [[7.0], [7.0, 9.0]])["mean"] == [7, 9]


def test_success_is_a_share_of_whole_minutes_and_nothing_where_nothing_ended() -> None:
    series: Any = {
        "succeeded": [1] * 6 + [0] * 6 + [1],
        "failed": [0, 1, 0, 1, 0, 0] + [0] * 7,
    }
    assert comparison.CURVES["success_per_minute"](series) == [6 / 8, None, 1]
    assert comparison.CURVES["failed_per_minute"](series) == [2, 0, 0]


def test_there_is_no_ratio_to_nothing() -> None:
    figures = {
        variant: {key: {"mean": 0} for key, _, _ in comparison.RATIOS.values()}
        | {"delivered": {"mean": 1}, "lost": {"mean": 0}, "accepted": {"mean": 1}}
        for variant in comparison.VARIANTS
    }
    ratios = comparison._ratios(figures)
    assert {name for name, ratio in ratios.items() if ratio is None} == set(comparison.RATIOS)


def test_shares_differ_in_points_and_other_figures_by_shares() -> None:
    assert comparison._deviation(0.25, 0.20) == pytest.approx(0.05)
    assert comparison._deviation(709.2, 788) == pytest.approx(-0.1)


# -------------------------------------------------------------------------------------------------------- the page


def test_no_number_in_the_page_comes_from_elsewhere(html: str) -> None:
    """A number in the template's own words would stay when the twin's change: number() writes those that are true."""
    words = Words()
    words.feed(html)
    with_digits = [text.strip() for text in words.outside if re.search(r"\d", text)]
    assert set(with_digits) == {"accepted (202)", "delay, 95th percentile"}
    assert len(words.numbers) > 150


def test_numbers_are_what_the_document_says(html: str, document: dict[str, Any]) -> None:
    words = Words()
    words.feed(html)
    for path, value, text in words.numbers:
        assert float(value) == page.look_up(document, path)
        assert re.fullmatch(r"[+\N{MINUS SIGN}]?\$?[\d,]+(\.\d+)?(\N{NO-BREAK SPACE}(%|s|points))?", text), text


def test_every_figure_has_its_row(html: str, document: dict[str, Any]) -> None:
    """New figures of the twin are to be shown, or left out on purpose."""
    shown = {key for group in page.FIGURES.values() for key in group}
    there = set(document["figures"]["flow-control"])
    only_with_an_outage = {"time_to_open_s", "time_to_recover_s", "peak_calls_per_second_recovered"}
    assert there - shown == only_with_an_outage
    for key in shown:
        if document["figures"]["flow-control"][key]["mean"] is not None:  # goodput, where orders never had to wait
            assert f'data-path="figures.flow-control.{key}.mean"' in html
    assert document["costs"]["flow-control"].keys() == page.SERVICES.keys()


def test_a_figure_that_does_not_exist_is_a_dash() -> None:
    assert page.number({"ratios": {"delay": None}}, "ratios.delay", "times") == "\N{EN DASH}"


def test_the_page_needs_no_network_and_runs_no_script(html: str) -> None:
    assert "<script" not in html
    assert not re.findall(r'(?:src|href|action)="(?!#|data:,)[^"]*"', html)
    assert not re.findall(r"url\((?!#)|@import", html)


def test_the_same_runs_give_the_same_page(html: str, document: dict[str, Any]) -> None:
    assert page.write(json.loads(json.dumps(document))) == html


def test_ids_are_unique_and_every_reference_has_its_target(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"|aria-labelledby="([^"]+)"', html)
    assert {name for found in references for name in found if name} <= set(ids)


def test_only_the_published_load_is_compared_with_the_published_run(
    runs: dict[str, dict[int, comparison.Run]], html: str
) -> None:
    published = page.write(comparison.document(runs, phases.load("published")))
    for text in ("Beside the published run", "published, all functions: 788", 'data-path="deviations.plain-buffer.'):
        assert text in published
        assert text not in html


# ---------------------------------------------------------------------------------------------------- the pictures


def test_pictures_take_their_colours_from_the_page(document: dict[str, Any]) -> None:
    for name, picture in pictures.PICTURES.items():
        for width in (pictures.WIDE, pictures.NARROW):
            svg = pictures.inline(picture, document, width)
            assert not re.findall(r"#[0-9a-f]{6}\b", svg), f"{name} has a colour that does not change with the theme"
            for variant in style.LABELS:
                assert f"var(--{variant})" in svg


def test_numbers_in_pictures_are_those_of_the_document(document: dict[str, Any]) -> None:
    other = json.loads(json.dumps(document))
    other["figures"]["plain-buffer"]["lost"]["mean"] = 4321
    other["figures"]["plain-buffer"]["cost_usd_per_1000_orders"]["mean"] = 1.234
    other["load"]["courier_calls_per_second"] = 77
    other["published"] = {"no-flow-control": dict.fromkeys(comparison.PUBLISHED["no-flow-control"], 0.55)}
    for name, text in (
        ("delivered", "4,321 lost"),
        ("cost", "$1.234"),
        ("courier", "the courier's limit: 77"),
        ("success", "published worst minute: 55 %"),
    ):
        assert text in pictures.inline(pictures.PICTURES[name], other, pictures.WIDE)


def test_the_readme_pictures_are_there_for_both_themes(document: dict[str, Any], tmp_path: Path) -> None:
    files = pictures.save(document, tmp_path)
    assert [file.name for file in files] == ["twin.png", "twin-dark.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


# ----------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("seeds", ["0", "101", "five", "2.5"])
def test_a_wrong_number_of_seeds_is_refused_with_the_rule(
    seeds: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--seeds", seeds])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert f"--seeds: a whole number from 1 to 100, not '{seeds}'" in capsys.readouterr().err


def test_a_load_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--profile", "no-such-file.yml"])
    assert command.main() == 2
    assert "there is no file no-such-file.yml" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_simulated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["report", "--profile", "short", "--out", str(tmp_path / "file")])
    monkeypatch.setattr(comparison, "run", lambda *_: pytest.fail("simulated for nothing"))
    assert command.main() == 2
    assert str(tmp_path / "file") in capsys.readouterr().out


def test_a_load_without_orders_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "quiet.yml").write_text("phases: [{duration: 60, arrivalRate: 0}]")
    monkeypatch.setattr("sys.argv", ["report", "--profile", str(tmp_path / "quiet.yml")])
    assert command.main() == 2
    assert "the profile quiet sends no order" in capsys.readouterr().out


def test_it_says_how_far_it_is_and_where_the_report_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--profile", "short", "--seeds", "1", "--out", str(tmp_path)])
    assert command.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["1/3", "2/3", "3/3"]
    assert lines[-1] == f"Open {(tmp_path / 'compare.html').as_uri()} in a browser."
    assert {file.name for file in tmp_path.iterdir()} == {"compare.html", "compare.json", "twin.png", "twin-dark.png"}


class Words(HTMLParser):
    """The words of the page's body: numbers, with their path and value, and everything outside of them."""

    UNREAD = ("head", "svg")

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.numbers: list[tuple[str, str, str]] = []
        self._unread = 0
        self._number: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._unread += tag in self.UNREAD
        self._number = dict(attributes) if tag == "data" else self._number

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in self.UNREAD
        self._number = None if tag == "data" else self._number

    def handle_data(self, data: str) -> None:
        if self._number:
            self.numbers.append((str(self._number["data-path"]), str(self._number["value"]), data))
        elif not self._unread:
            self.outside.append(data)
