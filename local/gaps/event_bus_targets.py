"""Targets of an EventBridge rule: asynchronous invocation, and a dead-letter queue.

AWS: EventBridge invokes a Lambda target asynchronously, with the retries that the function's
asynchronous configuration gives ("Using AWS Lambda with Amazon EventBridge"). An event that cannot
be handed to a target goes to the target's dead-letter queue, with the message attributes RULE_ARN,
TARGET_ARN, ERROR_CODE, ERROR_MESSAGE, EXHAUSTED_RETRY_CONDITION and RETRY_ATTEMPTS; a target that
does not exist is not tried again ("Using dead-letter queues to process undelivered events",
EventBridge user guide).
ministack: invokes the function once, and drops an event without a word when its target is gone.
"""

from __future__ import annotations

import json
from typing import Any

from local.gaps.emulator import Emulator


class UndeliveredError(Exception):
    """An event could not be handed to its target."""


def install(emulator: Emulator) -> None:
    """Make the emulator's dispatchers say when they fail, and act on it."""
    from ministack.services import eventbridge

    emulator.wrap(eventbridge, "_dispatch_to_lambda", invoke_asynchronously, parameters=("arn", "payload"))
    emulator.wrap(
        eventbridge,
        "_invoke_target",
        with_dead_letter_queue,
        parameters=("target", "event", "rule", "view"),
    )


def invoke_asynchronously(_original: Any) -> Any:
    """A dispatcher that puts the event into the function's internal queue."""
    from ministack.services import lambda_svc

    def dispatch(arn: str, payload: str) -> None:
        func, config, _ = lambda_svc._get_func_record_for_ref(arn)
        record = lambda_svc._execution_record_for_config(func, config)
        lambda_svc.invoke_async_with_retry(record, json.loads(payload))

    return dispatch


def with_dead_letter_queue(original: Any) -> Any:
    """Deliver to targets that exist, and to the dead-letter queue of those that do not."""
    from ministack.services import eventbridge, sqs

    def invoke(target: dict[str, Any], event: Any, rule: dict[str, Any], view: Any = None) -> None:
        problem = missing_target(target.get("Arn", ""))
        if problem is None:
            original(target, event, rule, view)
            return
        queue_arn = (target.get("DeadLetterConfig") or {}).get("Arn")
        queue = sqs._queue_by_arn(queue_arn) if queue_arn else None
        if queue is None:
            return
        view = view or eventbridge._pattern_event_view(event)
        attributes = {
            "RULE_ARN": rule.get("Arn", ""),
            "TARGET_ARN": target.get("Arn", ""),
            "ERROR_CODE": "NO_RESOURCE",
            "ERROR_MESSAGE": problem,
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
            "RETRY_ATTEMPTS": "0",
        }
        request = {
            "QueueUrl": queue["url"],
            "MessageBody": json.dumps(view.event_with_detail()),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value
            },
        }
        sqs._act_send_message(request, queue["url"])

    return invoke


def missing_target(arn: str) -> str | None:
    """What is wrong with a queue, topic or function target that does not exist, else None."""
    from ministack.services import lambda_svc, sns, sqs

    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "sqs" and sqs._queue_by_arn(arn) is None:
        return "The specified queue does not exist."
    if service == "sns" and arn not in sns._topics:
        return "Topic does not exist"
    if service == "lambda" and not lambda_svc._get_func_record_for_ref(arn)[1]:
        return f"Function not found: {arn}"
    return None
