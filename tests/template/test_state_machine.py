"""The state machines' definitions, as far as they can be judged without running them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.state_machines import CIRCUIT_BREAKER, DEFINITIONS
from tests.template.lint_state_machines import NOT_MISTAKES, findings, main, statelint

STATES: dict[str, dict[str, Any]] = yaml.safe_load(CIRCUIT_BREAKER.read_text())["States"]
TASKS = [name for name, state in STATES.items() if state["Type"] == "Task"]


def test_linters_find_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(), capsys.readouterr().out) == (0, "")


def test_findings_that_are_let_off_are_still_made() -> None:
    """Or a check stays switched off that has become right, and misses the next mistake."""
    made = [finding for path in DEFINITIONS for finding in statelint(path)]
    for reason, wrong in NOT_MISTAKES.items():
        assert any(wrong.search(finding) for finding in made), f"take it out of NOT_MISTAKES: {reason}"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    Default: PlanClaim\n", "    Default: PlanClam\n"),
        ("    Type: Succeed\n", "    Type: Suceed\n"),
        ("    Seconds: 1\n", "    Seconds: soon\n"),
        ("        MaxAttempts: 12\n", "        MaxAttempts: many\n"),
        ("    Next: CompareMapping\n", ""),
        ("    TimeoutSeconds: 45\n", "    TimeoutSecond: 45\n"),
    ],
)
def test_linters_find_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    text = CIRCUIT_BREAKER.read_text()
    assert right in text
    (tmp_path / "wrong.asl.yaml").write_text(text.replace(right, wrong, 1))
    assert findings(tmp_path / "wrong.asl.yaml")


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_there_are_no_anchors(path: Path) -> None:
    assert not any(getattr(event, "anchor", None) for event in yaml.parse(path.read_text()))


def test_every_wait_of_the_circuit_breaker_is_in_whole_seconds_whatever_its_parameter() -> None:
    """Wait fails on a fraction ("cannot be parsed as an integer"), and a parameter of type Number may have one."""
    seconds = re.findall(r"(?:Seconds|wait): .*\$number\(.*", CIRCUIT_BREAKER.read_text())
    assert seconds
    assert all("$ceil($number(" in line for line in seconds), seconds


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_timeout_retries_and_a_way_to_fail(name: str) -> None:
    task = STATES[name]
    assert 0 < task["TimeoutSeconds"] <= 60
    assert all("States.ALL" not in retrier["ErrorEquals"] for retrier in task["Retry"]), "names what is transient"
    assert all(retrier["JitterStrategy"] == "FULL" for retrier in task["Retry"])
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("name", [name for name in TASKS if STATES[name]["Resource"].endswith("dynamodb:updateItem")])
def test_every_write_is_conditional(name: str) -> None:
    assert STATES[name]["Arguments"]["ConditionExpression"]


def test_every_state_can_be_reached_and_leads_to_an_end() -> None:
    following = {name: set(_following(state)) for name, state in STATES.items()}
    assert _reached("CheckInput", following) == STATES.keys()
    ends = {name for name, state in STATES.items() if state["Type"] in ("Succeed", "Fail")}
    for name in STATES:
        assert _reached(name, following) & ends, f"{name} never ends"


def test_no_failure_closes_the_circuit() -> None:
    """ "Catch everything and close" closes on the machine's own errors."""
    caught = {catcher["Next"] for name in TASKS for catcher in STATES[name]["Catch"]}
    assert not caught & {"ToClosed", "AnnounceClosed", "ToRamping", "AnnounceRamping"}


def _following(state: dict[str, Any]) -> list[str]:
    steps = [state.get("Next"), state.get("Default")]
    steps += [branch["Next"] for key in ("Choices", "Catch") for branch in state.get(key, [])]
    return [step for step in steps if step]


def _reached(name: str, following: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = {name}
    while ahead:
        step = ahead.pop()
        if step not in reached:
            reached.add(step)
            ahead |= following[step]
    return reached
