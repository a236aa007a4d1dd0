from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.twin import calibrate
from loadtest.twin.calibrate import Check

SEEDS = (1, 2)
"""`make twin ARGS=calibrate` takes five."""


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return list(calibrate.checks(SEEDS))


def test_the_twin_is_as_close_to_what_was_measured_as_is_promised(checks: list[Check]) -> None:
    missed = [f"{check.against}, {check.figure}: {check.twin:.4g}" for check in checks if not check.met]
    assert missed == [], "make twin ARGS=calibrate shows all figures; a change of the hub may ask for a new recording"


def test_every_figure_of_the_published_run_and_of_both_recorded_variants_is_compared(checks: list[Check]) -> None:
    against = [check.against for check in checks]
    assert against.count("published, no-flow-control") == 3
    assert against.count("published, plain-buffer") == 2
    assert against.count("local stack, flow-control") == against.count("local stack, no-flow-control") == 4


@pytest.mark.parametrize(("twin", "met"), [(84.9, False), (85.0, True), (115.0, True), (115.1, False)])
def test_a_check_is_missed_beyond_its_bounds(twin: float, met: bool) -> None:
    check = Check("run", "figure", 100.0, twin, 85.0, 115.0)
    assert check.met is met
    assert check.deviation == pytest.approx(twin / 100 - 1)


@pytest.fixture
def report() -> dict[str, object]:
    """What `make demo` writes, as far as it matters here."""
    parameters = {"FlowControl": "enabled", "CourierRate": "5", "CourierTimeout": "5", "Gone": "1"}
    meta = {
        "date": "2026-11-21T11:28:00+00:00",
        "seed": 2024,
        "phases": [],
        "async_retry_waits_s": [4.0, 8.0],
        "versions": {},
        "parameters": {"flow-control": parameters},
        "runs": {"flow-control": {"calls_by_outcome": {"delivered": 359}}},
    }
    return {"flow-control": {"delivered": 359}, "meta": meta}


def test_a_recording_keeps_the_figures_and_the_parameters_that_differ(
    report: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "RECORDINGS", tmp_path / "recordings" / "short.json")
    file = tmp_path / "demo.json"
    file.write_text(json.dumps(report))
    assert calibrate.record(file) == 1
    assert calibrate.record(file) == 1, "the same run counts once"
    [recording] = json.loads(calibrate.RECORDINGS.read_text())
    assert recording["parameters"] == {"CourierRate": "5"}
    assert recording["figures"] == {"flow-control": {"delivered": 359}}


def test_a_run_on_a_machine_that_was_too_busy_is_not_added(
    report: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "RECORDINGS", tmp_path / "short.json")
    report["flow-control"]["delivered"] = 374  # type: ignore[index]
    file = tmp_path / "demo.json"
    file.write_text(json.dumps(report))
    with pytest.raises(ValueError, match="15 answers of the courier came too late"):
        calibrate.record(file)


def test_a_run_of_another_experiment_is_not_added(
    report: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "RECORDINGS", tmp_path / "short.json")
    file = tmp_path / "demo.json"
    file.write_text(json.dumps(report))
    calibrate.record(file)
    report["meta"]["date"] = "2026-11-22T11:28:00+00:00"  # type: ignore[index]
    report["meta"]["async_retry_waits_s"] = [60.0, 120.0]  # type: ignore[index]
    file.write_text(json.dumps(report))
    with pytest.raises(ValueError, match="other async_retry_waits_s"):
        calibrate.record(file)
