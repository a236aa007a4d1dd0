"""Every asynchronous hop has a dead-letter destination, and every one of those tells people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.template.invariants.encryption import statements_about
from tests.template.invariants.invariant import invariant, of
from tests.template.invariants.permissions import actions_on
from tests.template.invariants.timing import FOURTEEN_DAYS
from tests.template.translated import ROOT, Stack, as_list, logical_id, references

ON_PURPOSE = "FlowControl=disabled is the published first build, which loses orders; it is there to be compared"
EVENT_INVOKERS = {"events.amazonaws.com", "sns.amazonaws.com", "s3.amazonaws.com", "iot.amazonaws.com"}


def dead_letter_queues(stack: Stack) -> list[str]:
    """Return every queue that something hands its failures to."""
    found: set[str | None] = set()
    for name, resource in stack.resources.items():
        properties = resource.get("Properties", {})
        found.add(logical_id(properties.get("RedrivePolicy", {}).get("deadLetterTargetArn")))
        found.add(logical_id(properties.get("DeadLetterConfig", {}).get("TargetArn")))
        found.add(logical_id(properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")))
        found.update(logical_id(dead_letters_of(target)) for _, target in rule_targets(stack, name))
        variables = properties.get("Environment", {}).get("Variables", {})
        found.add(logical_id(variables.get("DEAD_LETTER_QUEUE_URL")))
    return [name for name in stack.of_type("AWS::SQS::Queue") if name in found]


def rule_targets(stack: Stack, rule: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a rule's targets, each as "RuleLogicalId/TargetId" and its properties."""
    if stack.type_of(rule) != "AWS::Events::Rule":
        return []
    return [(f"{rule}/{target['Id']}", target) for target in stack.properties(rule)["Targets"]]


def dead_letters_of(target: dict[str, Any]) -> Any:
    """Return the ARN of a rule target's dead-letter queue, or None."""
    return target.get("DeadLetterConfig", {}).get("Arn")


def _all_targets(stack: Stack) -> dict[str, dict[str, Any]]:
    return {name: target for rule in stack.resources for name, target in rule_targets(stack, rule)}


@invariant(of("AWS::SQS::Queue"))
def queue_has_dead_letter_queue(stack: Stack, queue: str) -> Iterator[str]:
    """A message that no consumer can take comes back until its retention ends, and then it is gone without a word.

    (SQS developer guide, "Using dead-letter queues"; design, section 2: every hop has a dead-letter queue.)
    """
    if queue in dead_letter_queues(stack):
        return
    target = logical_id(stack.properties(queue).get("RedrivePolicy", {}).get("deadLetterTargetArn"))
    if stack.type_of(target) != "AWS::SQS::Queue":
        yield "has no RedrivePolicy with a queue of this stack"


@invariant(_all_targets, exceptions={"DirectDeliveryRule/delivery": ON_PURPOSE})
def rule_target_has_dead_letter_queue(stack: Stack, target: str) -> Iterator[str]:
    """EventBridge drops an event that it could not hand over for 24 hours and 185 attempts, or that was refused.

    It keeps it only in a dead-letter queue of the target (EventBridge user guide, "Using dead-letter queues to process
    undelivered events").
    """
    if stack.type_of(logical_id(dead_letters_of(_all_targets(stack)[target]))) != "AWS::SQS::Queue":
        yield "has no DeadLetterConfig with a queue of this stack"


@invariant(_all_targets)
def rule_may_send_to_its_queues(stack: Stack, target: str) -> Iterator[str]:
    """EventBridge has no role for queues: without a queue policy every event is dropped, dead letters included.

    The policy allows sqs:SendMessage to events.amazonaws.com with aws:SourceArn of the rule (EventBridge user guide,
    "Using resource-based policies", "Amazon SQS permissions" and "Considerations for using a dead-letter queue").
    """
    rule, properties = target.partition("/")[0], _all_targets(stack)[target]
    for value in (properties["Arn"], dead_letters_of(properties)):
        queue = logical_id(value)
        if stack.type_of(queue) == "AWS::SQS::Queue" and not _admits(stack, str(queue), rule):
            yield f"may not send to {queue}: no queue policy allows sqs:SendMessage with aws:SourceArn of {rule}"


def _admits(stack: Stack, queue: str, rule: str) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and statement.get("Principal") == {"Service": "events.amazonaws.com"}
        and "sqs:SendMessage" in as_list(statement["Action"])
        and rule in references(statement.get("Condition"))
        for statement in statements_about(stack, queue)
    )


def _asynchronously_invoked(stack: Stack) -> list[str]:
    invoked = {
        logical_id(stack.properties(name)["FunctionName"])
        for name in stack.of_type("AWS::Lambda::Permission")
        if stack.properties(name)["Principal"] in EVENT_INVOKERS
    }
    return [name for name in stack.of_type("AWS::Lambda::Function") if name in invoked]


@invariant(_asynchronously_invoked, exceptions={"DeliveryFunction": ON_PURPOSE})
def asynchronous_function_has_destination(stack: Stack, function: str) -> Iterator[str]:
    """Lambda discards an event after two retries, or after six hours of throttling.

    It keeps it only in a dead-letter queue or an on-failure destination (Lambda developer guide, "Capturing records of
    Lambda asynchronous invocations").
    """
    destinations = [stack.properties(function).get("DeadLetterConfig", {}).get("TargetArn")]
    for name in stack.of_type("AWS::Lambda::EventInvokeConfig"):
        properties = stack.properties(name)
        if logical_id(properties["FunctionName"]) == function:
            destinations.append(properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
    if not any(logical_id(destination) in stack.resources for destination in destinations):
        yield "is invoked asynchronously, and has neither a DeadLetterConfig nor an OnFailure destination"


@invariant(dead_letter_queues)
def dead_letters_are_kept_fourteen_days(stack: Stack, queue: str) -> Iterator[str]:
    """People need the time to come back from a holiday, mend the cause and send the messages again.

    1,209,600 s, 14 days, is the longest that SQS keeps a message (SQS developer guide, "Amazon SQS message quotas").
    """
    retention = stack.properties(queue).get("MessageRetentionPeriod", 4 * 24 * 3600)
    if retention != FOURTEEN_DAYS:
        yield f"keeps dead letters for {retention} s, and not for {FOURTEEN_DAYS} s"


@invariant(dead_letter_queues)
def dead_letter_queue_has_alarm(stack: Stack, queue: str) -> Iterator[str]:
    """A dead letter that nobody hears of is a lost order; a misspelt dimension makes an alarm that never fires.

    AWS/SQS ApproximateNumberOfMessagesVisible has the one dimension QueueName, and is not reported for a queue that
    nobody uses, hence notBreaching (SQS developer guide, "Available CloudWatch metrics for Amazon SQS"). The number of
    messages sent does not count those that a redrive moves.
    """
    dimensions = [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
    wanted = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": dimensions,
        "Statistic": "Maximum",
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    alarms = {name: stack.properties(name) for name in stack.of_type("AWS::CloudWatch::Alarm")}
    if not any(all(alarm.get(key) == value for key, value in wanted.items()) for alarm in alarms.values()):
        about = [name for name, alarm in alarms.items() if queue in references(alarm.get("Dimensions"))]
        yield f"has no alarm with {wanted} (alarms that name it: {about or 'none'})"


def _functions_for_letters(stack: Stack) -> dict[str, Any]:
    """Return the functions that are told of the dead-letter queues, each with what it is told."""
    variables = {
        name: stack.properties(name).get("Environment", {}).get("Variables", {})
        for name in stack.of_type("AWS::Lambda::Function")
    }
    return {name: given["DEAD_LETTER_QUEUES"] for name, given in variables.items() if "DEAD_LETTER_QUEUES" in given}


@invariant(dead_letter_queues)
def dead_letter_queue_is_looked_at(stack: Stack, queue: str) -> Iterator[str]:
    """An alarm tells that there is a dead letter, and not which; the functions tell of, and redrive, what they know.

    To look at letters without taking them away needs these three actions (SQS API, ReceiveMessage,
    ChangeMessageVisibility, GetQueueAttributes).
    """
    needed = {"sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"}
    functions = _functions_for_letters(stack)
    if len(functions) < 2:
        yield f"is told to {sorted(functions)} only, and should be to what tells people and to what redrives"
    for function, told in functions.items():
        if queue not in references(told):
            yield f"is missing in DEAD_LETTER_QUEUES of {function}"
        if missing := needed - actions_on(stack, logical_id(stack.properties(function)["Role"]), queue):
            yield f"cannot be looked at by {function}, whose role lacks {sorted(missing)}"


@invariant(dead_letter_queues)
def dead_letter_alarm_brings_the_letter(stack: Stack, queue: str) -> Iterator[str]:
    """The event of the queue's alarm is what makes a letter known within a minute, and not at the next look.

    (CloudWatch user guide, "Alarm events and EventBridge".)
    """
    functions = _functions_for_letters(stack)
    heard: set[str] = set()
    for rule in stack.of_type("AWS::Events::Rule"):
        if any(logical_id(target["Arn"]) in functions for _, target in rule_targets(stack, rule)):
            heard |= references(stack.properties(rule).get("EventPattern", {}).get("resources"))
    alarms = {
        name
        for name in stack.of_type("AWS::CloudWatch::Alarm")
        if queue in references(stack.properties(name).get("Dimensions"))
        and stack.properties(name)["MetricName"] == "ApproximateNumberOfMessagesVisible"
    }
    if not alarms & heard:
        yield f"has {sorted(alarms) or 'no alarm'}, and no rule hands its event to {' or '.join(functions)}"


@invariant(lambda stack: [name for name in stack.of_type("AWS::SQS::Queue") if _dead_letter_queue_of(stack, name)])
def redrive_leads_back(stack: Stack, queue: str) -> Iterator[str]:
    """What cannot be sent again by a command is sent again by hand, at night, into the wrong queue.

    The entry of a dead-letter queue names the queue whose redrive policy fills it, and one function may take from the
    one and send to the other.
    """
    letters = str(_dead_letter_queue_of(stack, queue))
    for function, told in _functions_for_letters(stack).items():
        entries = [entry["Fn::Sub"] for entry in told["Fn::Join"][1] if entry]
        if not any(entry.endswith(f"=${{{letters}}}>${{{queue}}}") for entry in entries):
            yield f"is not where {function} sends the letters of {letters}: its entry must end with >${{{queue}}}"
    roles = [logical_id(stack.properties(function)["Role"]) for function in _functions_for_letters(stack)]
    if not any(
        "sqs:DeleteMessage" in actions_on(stack, role, letters) and "sqs:SendMessage" in actions_on(stack, role, queue)
        for role in roles
    ):
        yield f"gets nothing back: no function may both delete from {letters} and send to it"


@invariant(dead_letter_queues)
def dead_letter_queue_has_a_way_out(stack: Stack, queue: str) -> Iterator[str]:
    """A message about a dead letter that names no command leaves whoever is on call alone with it.

    What goes back to no queue (>queue) names the make target that puts it right (!target).
    """
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for function, told in _functions_for_letters(stack).items():
        for entry in (entry["Fn::Sub"] for entry in told["Fn::Join"][1] if entry):
            if (
                f"${{{queue}}}" in entry.partition(">")[0]
                and ">" not in entry
                and entry.partition("!")[2] not in targets
            ):
                yield f"has an entry in {function} without a way out: no >queue, and no !target of the Makefile"


def _dead_letter_queue_of(stack: Stack, queue: str) -> str | None:
    return logical_id(stack.properties(queue).get("RedrivePolicy", {}).get("deadLetterTargetArn"))


def _alarms(stack: Stack) -> list[str]:
    """Return the alarms, without those that are only parts of a composite alarm's rule.

    One that keeps a composite alarm quiet (NOT) is no part of it, and tells people itself.
    """
    composites = stack.of_type("AWS::CloudWatch::CompositeAlarm")
    rules = [stack.properties(alarm)["AlarmRule"]["Fn::Sub"] for alarm in composites]
    parts = {name for rule in rules for name in references({"Fn::Sub": re.sub(r'NOT ALARM\("[^"]*"\)', "", rule)})}
    return [name for name in (*stack.of_type("AWS::CloudWatch::Alarm"), *composites) if name not in parts]


@invariant(_alarms)
def alarm_tells_people(stack: Stack, alarm: str) -> Iterator[str]:
    """An alarm without an action changes its colour on a page that nobody looks at."""
    properties = stack.properties(alarm)
    topics = [logical_id(action) for action in properties.get("AlarmActions", [])]
    if not any(stack.type_of(topic) == "AWS::SNS::Topic" for topic in topics):
        yield "has no AlarmActions with a topic of this stack"
    if str(properties.get("ActionsEnabled", True)).lower() != "true":
        yield "has its actions disabled"


@invariant(of("AWS::SNS::Topic"))
def alarms_reach_the_topic(stack: Stack, topic: str) -> Iterator[str]:
    """CloudWatch may neither publish to a topic whose policy does not name it nor encrypt for one with the AWS key.

    The AWS managed key alias/aws/sns has a policy that cannot be changed, so the topic needs a key of its own that
    allows cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey* (CloudWatch user guide, "Notifying users on
    alarm changes"; SNS developer guide, "Enable compatibility between event sources and encrypted topics").
    """
    if not any(topic in references(stack.properties(name).get("AlarmActions")) for name in stack.resources):
        return
    if not _cloudwatch_may(statements_about(stack, topic), {"sns:Publish"}):
        yield "has no policy that lets cloudwatch.amazonaws.com publish"
    key = logical_id(stack.properties(topic).get("KmsMasterKeyId"))
    if stack.type_of(key) != "AWS::KMS::Key":
        yield "has no KmsMasterKeyId with a key of this stack"
    elif not _cloudwatch_may(statements_about(stack, str(key)), {"kms:Decrypt", "kms:GenerateDataKey*"}):
        yield f"is encrypted with {key}, which cloudwatch.amazonaws.com may not use"


def _cloudwatch_may(statements: list[dict[str, Any]], actions: set[str]) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and statement.get("Principal") == {"Service": "cloudwatch.amazonaws.com"}
        and actions <= set(as_list(statement["Action"]))
        for statement in statements
    )
