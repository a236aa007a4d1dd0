"""CloudWatch metrics of SQS queues.

AWS ("Available CloudWatch metrics for Amazon SQS", SQS developer guide): AWS/SQS metrics with the
dimension QueueName, for every active queue, once a minute.
ministack: publishes none, so no alarm on a queue can fire.

`LOCAL_METRIC_SECONDS` shortens the minute.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from local.gaps.emulator import Emulator
from local.gaps.scopes import in_scope

MINUTE = 60.0


def install(emulator: Emulator) -> None:
    """Read every queue at an interval."""
    seconds = float(emulator.settings.get("metric_seconds", MINUTE))

    async def publish() -> None:
        from ministack.services import sqs

        while True:
            await asyncio.sleep(seconds)
            for (account, region, _), queue in list(sqs._queues._data.items()):
                in_scope(account, region, publish_queue, queue)

    emulator.add_background(publish)


def publish_queue(queue: dict[str, Any]) -> None:
    """Publish what one queue holds now."""
    from ministack.services import cloudwatch, sqs

    with sqs._queues_lock:
        sqs._refresh_counts(queue)
        oldest = min((message["sent_at"] for message in queue["messages"]), default=None)
        attributes = dict(queue["attributes"])
    values = {
        "ApproximateNumberOfMessagesVisible": attributes["ApproximateNumberOfMessages"],
        "ApproximateNumberOfMessagesNotVisible": attributes["ApproximateNumberOfMessagesNotVisible"],
        "ApproximateNumberOfMessagesDelayed": attributes["ApproximateNumberOfMessagesDelayed"],
    }
    dimensions = {"QueueName": attributes["QueueArn"].rsplit(":", 1)[1]}
    for name, value in values.items():
        cloudwatch.record_metric("AWS/SQS", name, float(value), "Count", dimensions)
    age = time.time() - oldest if oldest is not None else 0.0
    cloudwatch.record_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", age, "Seconds", dimensions)
