"""The state machines' definitions, as far as they can be judged without running them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonata
import pytest
import yaml

from tests.state_machines import CIRCUIT_BREAKER, DEFINITIONS
from tests.template.lint_state_machines import NOT_MISTAKES, findings, main, statelint

MACHINES: dict[str, dict[str, Any]] = {
    path.name.partition(".")[0]: yaml.safe_load(path.read_text()) for path in DEFINITIONS
}
CIRCUIT: dict[str, dict[str, Any]] = MACHINES["circuit_breaker"]["States"]
TASKS = [
    pytest.param(state, id=f"{machine}-{name}")
    for machine, definition in MACHINES.items()
    for name, state in definition["States"].items()
    if state["Type"] == "Task"
]
CIRCUIT_TASKS = [name for name, state in CIRCUIT.items() if state["Type"] == "Task"]


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


def test_an_order_is_put_back_with_attributes_that_sqs_takes() -> None:
    """ReceiveMessage may give an attribute empty lists, with which SendMessage refuses it (aws/aws-sdk-js#3132)."""
    received = {
        "Body": "order",
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": name, "StringListValues": [], "BinaryListValues": []}
            for name in ("reason", "redriven")
        },
    }
    arguments = jsonata.Jsonata(CIRCUIT["PutOrderBack"]["Arguments"].strip()[2:-2])
    scope = arguments.create_frame()
    scope.bind("message", received)
    assert arguments.evaluate(None, scope)["MessageAttributes"] == {
        "reason": {"DataType": "String", "StringValue": "reason"},
        "redriven": {"DataType": "String", "StringValue": "redriven"},
    }


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
