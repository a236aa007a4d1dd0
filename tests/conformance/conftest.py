"""Emulators for the conformance tests: one with the gaps closed and one bare, shared by all tests."""

from __future__ import annotations

import io
import itertools
import json
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.stack import EmulatorSettings, RunningEmulator

ROLE = "arn:aws:iam::000000000000:role/conformance"
RETRY_SECONDS = 0.3
MAPPING_CHANGE_SECONDS = 0.7
WITH_AND_WITHOUT_GAPS = [
    pytest.param(False, id="gaps"),
    pytest.param(True, id="bare", marks=pytest.mark.xfail(strict=True, reason="a gap of the emulator")),
]
"""Whether the emulator is bare: what a gap is closed for must fail there."""

_numbers = itertools.count(1)


class Emulators:
    """Starts an emulator of each kind when it is first asked for."""

    def __init__(self) -> None:
        self.running: dict[bool, RunningEmulator] = {}

    def get(self, *, bare: bool) -> RunningEmulator:
        if bare not in self.running:
            settings = EmulatorSettings(
                async_retry_base_seconds=RETRY_SECONDS,
                alarm_seconds=0.3,
                metric_seconds=0.3,
                mapping_change_seconds=MAPPING_CHANGE_SECONDS,
                schedule_minute_seconds=0.5,
                bare=bare,
            )
            self.running[bare] = RunningEmulator.start(settings)
        return self.running[bare]


@dataclass
class Account:
    """An emulated account in which a test makes what it needs; all of it is deleted afterwards."""

    emulator: RunningEmulator
    patience: float
    """Seconds to wait for what should come true: long enough for a slow machine, short where it never will."""
    cleanups: list[Callable[[], Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return self.emulator.client(service)

    def stack(self, resources: dict[str, Any], outputs: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
        """Create a CloudFormation stack and return its outputs."""
        cloudformation = self.client("cloudformation")
        name = f"conformance-{next(_numbers)}"
        template = {
            "Resources": resources,
            "Outputs": {key: {"Value": value} for key, value in (outputs or {}).items()},
            **more,
        }
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
        self.cleanups.append(lambda: cloudformation.delete_stack(StackName=name))
        waiter = cloudformation.get_waiter("stack_create_complete")
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 10})
        described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}

    def queue(self, **attributes: str) -> tuple[str, str]:
        """Create a queue; returns its URL and ARN."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=f"queue-{next(_numbers)}", Attributes=attributes)["QueueUrl"]
        self.cleanups.append(lambda: sqs.delete_queue(QueueUrl=url))
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def function(self, source: str, **settings: Any) -> str:
        """Create a Python function from its source, whose handler is `handler`; returns its name."""
        client = self.client("lambda")
        name = f"function-{next(_numbers)}"
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as contents:
            contents.writestr("app.py", textwrap.dedent(source))
        client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
            **{"Timeout": 5} | settings,
        )
        self.cleanups.append(lambda: client.delete_function(FunctionName=name))
        return name

    def state_machine(self, states: dict[str, Any], **settings: Any) -> str:
        """Create a state machine in JSONata that starts at its first state; returns its ARN."""
        client = self.client("stepfunctions")
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states, **settings}
        name = f"machine-{next(_numbers)}"
        created = client.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
        arn = str(created["stateMachineArn"])
        self.cleanups.append(lambda: client.delete_state_machine(stateMachineArn=arn))
        return arn

    def function_arn(self, name: str) -> str:
        return str(self.client("lambda").get_function(FunctionName=name)["Configuration"]["FunctionArn"])

    def invoke(self, function: str, event: Any = None) -> tuple[Any, str | None]:
        """Invoke and wait; returns the payload and the kind of error, if any."""
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read()), answer.get("FunctionError")

    def log(self, function: str, group: str | None = None) -> list[dict[str, Any]]:
        """The log events of a function, in the order of their times."""
        logs = self.client("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group or f"/aws/lambda/{function}")
            events = [event for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return sorted(events, key=lambda event: int(event["timestamp"]))

    def starts(self, function: str) -> int:
        """How often a function was invoked."""
        return sum(event["message"].startswith("START ") for event in self.log(function))

    def eventually(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds; fails when it does not in time."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"not within {self.patience} s"
            time.sleep(0.1)

    def receive(self, url: str) -> dict[str, Any]:
        """The next message of a queue, with its attributes."""
        answer = self.client("sqs").receive_message(
            QueueUrl=url, WaitTimeSeconds=round(self.patience), MessageAttributeNames=["All"], AttributeNames=["All"]
        )
        assert answer.get("Messages"), "no message arrived"
        message: dict[str, Any] = answer["Messages"][0]
        return message


@pytest.fixture(scope="session")
def emulators() -> Iterator[Emulators]:
    emulators = Emulators()
    yield emulators
    for emulator in emulators.running.values():
        emulator.stop()


@pytest.fixture(params=WITH_AND_WITHOUT_GAPS)
def account(request: pytest.FixtureRequest, emulators: Emulators) -> Iterator[Account]:
    """For what only holds with the gaps closed: runs on the bare emulator too, and must fail there."""
    yield from fresh_account(emulators.get(bare=request.param), patience=2 if request.param else 15)


@pytest.fixture
def relied_upon(emulators: Emulators) -> Iterator[Account]:
    """For what the emulator does by itself and the hub needs."""
    yield from fresh_account(emulators.get(bare=False), patience=15)


def fresh_account(emulator: RunningEmulator, patience: float) -> Iterator[Account]:
    account = Account(emulator, patience)
    yield account
    for cleanup in reversed(account.cleanups):
        cleanup()
    emulator.check()
