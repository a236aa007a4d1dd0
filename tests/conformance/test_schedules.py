"""Rules and schedules that run at a rate."""

from __future__ import annotations

import json

import pytest

from tests.conformance.conftest import ROLE, Account


def schedule_with_rule(account: Account, arn: str) -> None:
    events = account.client("events")
    events.put_rule(Name="every-minute", ScheduleExpression="rate(1 minute)")
    events.put_targets(Rule="every-minute", Targets=[{"Id": "target", "Arn": arn, "RoleArn": ROLE}])
    account.cleanups.append(lambda: events.delete_rule(Name="every-minute"))
    account.cleanups.append(lambda: events.remove_targets(Rule="every-minute", Ids=["target"]))


def schedule_with_scheduler(account: Account, arn: str) -> None:
    scheduler = account.client("scheduler")
    scheduler.create_schedule(
        Name="every-minute",
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": ROLE, "Input": json.dumps({"by": "scheduler"})},
    )
    account.cleanups.append(lambda: scheduler.delete_schedule(Name="every-minute"))


@pytest.mark.parametrize("schedule", [schedule_with_rule, schedule_with_scheduler])
def test_a_function_runs_at_a_rate_with_a_shortened_minute(account: Account, schedule: object) -> None:
    """EventBridge user guide, "Creating a rule that runs on a schedule in Amazon EventBridge"."""
    function = account.function("def handler(event, context): print(event)")
    schedule(account, account.function_arn(function))  # type: ignore[operator]
    account.eventually(lambda: account.starts(function) >= 2)


def test_a_state_machine_runs_at_a_rate(account: Account) -> None:
    """EventBridge user guide, "Amazon EventBridge targets": a Step Functions state machine."""
    machine = account.state_machine({"Done": {"Type": "Succeed"}})
    schedule_with_scheduler(account, machine)
    listed = account.client("stepfunctions").list_executions
    account.eventually(lambda: listed(stateMachineArn=machine, statusFilter="SUCCEEDED")["executions"])
