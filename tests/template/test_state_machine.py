"""The circuit breaker's definition, as far as it can be judged without running it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.template.translated import ROOT

DEFINITION = ROOT / "statemachines" / "circuit_breaker.asl.yaml"
STATES: dict[str, dict[str, Any]] = yaml.safe_load(DEFINITION.read_text())["States"]
TASKS = [name for name, state in STATES.items() if state["Type"] == "Task"]
# Wait takes a JSONata expression for Seconds (Step Functions developer guide, "Wait workflow state"); the linter does
# not know that.
NOT_A_MISTAKE = re.compile(r"\.Seconds is \"\{% .* %\}\" but should be an Integer$")


def test_statelint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("statelint")), "--yaml", str(DEFINITION)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [line for line in lines if line.startswith(" ")]
    assert [line for line in found if not NOT_A_MISTAKE.search(line)] == []
    assert len(found) == 2, "take what it has learned out of NOT_A_MISTAKE"


def test_there_are_no_anchors() -> None:
    assert not any(getattr(event, "anchor", None) for event in yaml.parse(DEFINITION.read_text()))


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
