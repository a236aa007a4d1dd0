"""The definitions of the state machines, as far as they can be judged without running them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.template.translated import ROOT

MACHINES: dict[str, dict[str, Any]] = {
    path.name.partition(".")[0]: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / "statemachines").glob("*.asl.yaml"))
}
CIRCUIT: dict[str, dict[str, Any]] = MACHINES["circuit_breaker"]["States"]
TASKS = [
    pytest.param(state, id=f"{machine}-{name}")
    for machine, definition in MACHINES.items()
    for name, state in definition["States"].items()
    if state["Type"] == "Task"
]
CIRCUIT_TASKS = [name for name, state in CIRCUIT.items() if state["Type"] == "Task"]
# Wait takes a JSONata expression for Seconds (Step Functions developer guide, "Wait workflow state"); the linter does
# not know that.
NOT_A_MISTAKE = re.compile(r"\.Seconds is \"\{% .* %\}\" but should be an Integer$")


def _definition(machine: str) -> Path:
    return ROOT / "statemachines" / f"{machine}.asl.yaml"


def _statelint(machine: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("statelint")), "--yaml", str(_definition(machine))]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if line.startswith(" ")]


@pytest.mark.parametrize("machine", MACHINES)
def test_statelint_finds_nothing(machine: str) -> None:
    found = _statelint(machine)
    assert [line for line in found if not NOT_A_MISTAKE.search(line)] == []
    computed = [state for state in MACHINES[machine]["States"].values() if isinstance(state.get("Seconds"), str)]
    assert len(found) == len(computed), "take what it has learned out of NOT_A_MISTAKE"


@pytest.mark.parametrize("machine", MACHINES)
def test_there_are_no_anchors(machine: str) -> None:
    assert not any(getattr(event, "anchor", None) for event in yaml.parse(_definition(machine).read_text()))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_timeout_retries_and_a_way_to_fail(task: dict[str, Any]) -> None:
    assert 0 < task["TimeoutSeconds"] <= 75, "a function's timeout, and the time to start it"
    assert all("States.ALL" not in retrier["ErrorEquals"] for retrier in task["Retry"]), "names what is transient"
    assert all(retrier["JitterStrategy"] == "FULL" for retrier in task["Retry"])
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("name", [name for name in CIRCUIT_TASKS if CIRCUIT[name]["Resource"].endswith("updateItem")])
def test_every_write_is_conditional(name: str) -> None:
    assert CIRCUIT[name]["Arguments"]["ConditionExpression"]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_can_be_reached_and_leads_to_an_end(machine: str) -> None:
    states = MACHINES[machine]["States"]
    following = {name: set(_following(state)) for name, state in states.items()}
    assert _reached(MACHINES[machine]["StartAt"], following) == states.keys()
    ends = {name for name, state in states.items() if state["Type"] in ("Succeed", "Fail")}
    for name in states:
        assert _reached(name, following) & ends, f"{name} never ends"


@pytest.mark.parametrize("machine", ["redrive", "replay"])
def test_a_loop_ends_before_the_history_of_its_execution_is_full(machine: str) -> None:
    """25,000 entries ("Step Functions service quotas"); a round has five of a task, two of each other state.

    A retry adds three entries; a fifth of the rounds may need one.
    """
    states = MACHINES[machine]["States"]
    limits = [
        int(found[1])
        for state in states.values()
        for choice in state.get("Choices", [])
        if (found := re.search(r">= (\d+) %", choice["Condition"]))
    ]
    assert len(limits) == 1, "the loop has one limit"
    assert limits[0] * (5 + 2 + 2 + 3 / 5) < 25_000


@pytest.mark.parametrize("machine", ["redrive", "replay"])
def test_people_hear_of_every_end(machine: str) -> None:
    """Every way out leads through Report, or fails, which raises an alarm."""
    states = MACHINES[machine]["States"]
    leads_to_success = {name for name, state in states.items() if "Ended" in _following(state)}
    assert leads_to_success == {"JudgeEnd"}
    assert {name for name, state in states.items() if "JudgeEnd" in _following(state)} == {"Report"}


def test_no_failure_closes_the_circuit() -> None:
    """ "Catch everything and close" closes on the machine's own errors."""
    caught = {catcher["Next"] for name in CIRCUIT_TASKS for catcher in CIRCUIT[name]["Catch"]}
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
