from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.profiles import Phase
from loadtest.twin import phases
from loadtest.twin.__main__ import main
from loadtest.twin.phases import ProfileError
from loadtest.twin.scenario import Outage

KEYS = {
    "orders", "accepted", "delivered", "lost", "dead_letters", "duplicates", "peak_concurrency", "worst_minute_success",
    "max_failed_per_minute", "p50_delay_s", "p95_delay_s", "max_backlog", "drain_s", "fluid_limit_drain_s",
    "goodput_ratio", "throttled_share", "courier_calls", "invocations", "billed_seconds_per_order",
    "cost_usd_per_1000_orders", "time_to_open_s", "time_to_recover_s", "series",
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    file = tmp_path / "evening.yml"
    file.write_text(
        "config:\n  target: ignored\n  phases:\n"
        "    - { name: calm, duration: 20, arrivalCount: 40 }\n    - { duration: 30, arrivalRate: 2, rampTo: 12 }\n"
    )
    return file


def test_run_writes_json_with_every_key(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--profile", str(profile), "--seed", "3", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= KEYS
    assert result["delivered"] == result["orders"] == 250
    assert result["scenario"]["seed"] == 3


def test_run_shows_a_table_and_writes_a_file(profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    assert main(["run", "--profile", str(profile), "--outage", "10:40", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "of the courier's limit used" in shown
    assert "250" in shown
    assert json.loads(file.read_text())["scenario"]["outages"] == [{"begin": 10.0, "end": 40.0, "mode": "outage"}]


def test_parameters_make_a_difference(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = []
    for cap in ("2", "4"):
        main(["run", "--profile", str(profile), "--set", f"MaximumConcurrency={cap}", "--json", "-"])
        peaks.append(json.loads(capsys.readouterr().out)["peak_concurrency"])
    assert peaks == [2, 4]


def test_other_assumptions_make_a_difference_and_are_recorded(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--profile", str(profile), "--variant", "no-flow-control", "--json", "-"]
    for assumption in ("cold_start=0", "cold_start=4"):
        assert main([*words, "--assume", assumption, "--assume", "async_retry_waits=4,8"]) == 0
    quick, slow = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert slow["p95_delay_s"] > quick["p95_delay_s"]
    assert slow["scenario"]["assumed"] == {"cold_start": 4.0, "async_retry_waits": [4.0, 8.0]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "nowhere.yml"], "there is no file nowhere.yml"),
        (["--set", "MaximumConcurrency"], "--set takes NAME=VALUE"),
        (["--assume", "luck=1"], "there is nothing to assume about luck; there is about mapping_start"),
        (["--assume", "cold_start=slow"], "cold_start must be a number, 0 or more, not 'slow'"),
        (["--assume", "alarm_evaluation=0"], "alarm_evaluation must be a number above 0, not '0'"),
        (["--assume", "async_throttle_wait_max=0"], "async_throttle_wait_max must be a number above 0, not '0'"),
        (["--assume", "mapping_start=0"], "mapping_start must be a whole number, 1 or more, not '0'"),
        (["--assume", "mapping_start=2.5"], "mapping_start must be a whole number, 1 or more, not '2.5'"),
        (["--assume", "cold_start=1,2"], "cold_start must be a number, 0 or more, not '1,2'"),
        (["--set", "MaximumConcurrency=2.5"], "MaximumConcurrency must be a whole number, not 2.5"),
        (["--set", "CircuitProbes=2.5"], "CircuitProbes must be a whole number, not 2.5"),
        (["--set", "Colour=blue"], "template.yaml has no parameter Colour"),
        (["--set", "MaximumConcurrency=1"], "must be from 2 to 1000"),
        (["--outage", "9"], "an outage is BEGIN:END"),
        (["--outage", "9:3"], "an outage is BEGIN:END"),
        (["--outage", "3:9:coffee"], "the mode of an outage must be one of drop, hang"),
        (["--outage", "3:9", "--outage", "8:20"], "outages must not overlap"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_the_rule(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ""


def test_the_profiles_of_the_load_test_are_known_by_name() -> None:
    assert phases.load("published").duration_s == 1080
    assert phases.load("short").duration_s == 72
    assert phases.load("short").peak_rate == phases.load("published").peak_rate


def test_a_file_may_hold_nothing_but_phases(tmp_path: Path) -> None:
    file = tmp_path / "day.yaml"
    file.write_text("phases:\n  - { duration: 10, arrivalRate: 1, rampTo: 3 }\n")
    assert phases.load(str(file)).phases == (Phase("phase 1", 10.0, 1.0, 3.0),)
    file.write_text("- { name: all, duration: 10, arrivalRate: 0.5 }\n")
    assert phases.load(str(file)).phases == (Phase("all", 10.0, 0.5, 0.5),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a list of phases"),
        ("config: {}", "needs a list of phases"),
        ("phases: []", "one phase at least"),
        ("[", "is no YAML"),
        ("- 3", "phases[0] must have the fields duration and arrivalRate, not 3"),
        ("- { duration: 1 }", "phases[0] needs either arrivalRate"),
        ("- { duration: 1, arrivalRate: 1, arrivalCount: 1 }", "phases[0] needs either arrivalRate"),
        ("- { duration: 1, arrivalCount: 1, rampTo: 2 }", "phases[0].rampTo needs arrivalRate"),
        ("- { duration: 0, arrivalRate: 1 }", "phases[0].duration must be more than 0 seconds, not 0"),
        ("- { duration: soon, arrivalRate: 1 }", "phases[0].duration must be a number, 0 or more, not 'soon'"),
        ("- { duration: 1, arrivalRate: -1 }", "phases[0].arrivalRate must be a number, 0 or more, not -1"),
        ("- { duration: 1, arrivalRate: .inf }", "phases[0].arrivalRate must be a number"),
        ("- { duration: 1, arrivalRate: true }", "phases[0].arrivalRate must be a number"),
        ("- { duration: 1, arrivalRate: 1 }\n- { duration: 1, rate: 1 }", "phases[1] has the field rate"),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused_by_field(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.yml"
    file.write_text(text)
    with pytest.raises(ProfileError) as refused:
        phases.load(str(file))
    assert message in str(refused.value)


def test_an_outage_is_read_with_its_mode() -> None:
    assert Outage.read("600:900") == Outage(600.0, 900.0, "outage")
    assert Outage.read("0:1.5:hang") == Outage(0.0, 1.5, "hang")
