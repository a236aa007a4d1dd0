"""What becomes of an event that a rule's target does not take."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.conftest import Account


def rule(account: Account, name: str, **target: Any) -> str:
    """Make a rule for every event of the source `name`; returns its ARN."""
    events = account.client("events")
    arn = events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))["RuleArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "target", **target}])
    account.cleanups.append(lambda: events.delete_rule(Name=name))
    account.cleanups.append(lambda: events.remove_targets(Rule=name, Ids=["target"]))
    return str(arn)


def put_event(account: Account, source: str) -> None:
    entry = {"Source": source, "DetailType": "test", "Detail": '{"order_id": "ord-1"}'}
    assert account.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_a_function_is_invoked_asynchronously_with_two_retries(account: Account) -> None:
    """Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation"."""
    function = account.function("def handler(event, context): raise ValueError(event['source'])")
    rule(account, "retried", Arn=account.function_arn(function))
    put_event(account, "retried")
    account.eventually(lambda: account.starts(function) == 3)


def test_an_event_for_a_target_that_is_gone_goes_to_the_dead_letter_queue(account: Account) -> None:
    """EventBridge user guide, "Using dead-letter queues to process undelivered events"."""
    dead_letters, dead_letter_arn = account.queue()
    gone = dead_letter_arn.rsplit(":", 1)[0] + ":no-such-queue"
    arn = rule(account, "undelivered", Arn=gone, DeadLetterConfig={"Arn": dead_letter_arn})
    put_event(account, "undelivered")
    message = account.receive(dead_letters)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["RULE_ARN"] == arn
    assert attributes["TARGET_ARN"] == gone
    assert attributes["ERROR_CODE"] == "NO_RESOURCE"
    assert attributes["ERROR_MESSAGE"]
    assert json.loads(message["Body"])["detail"] == {"order_id": "ord-1"}
