"""What a person needs to know when the circuit changes: each piece if it can be had, and no worse without it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hub.insights import link
from hub.instrument import logger, metrics
from hub.measures import COURIER_FAILURE

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

_RECENT_SECONDS = 120
_SAMPLES = 5
_QUERY = 'fields @timestamp, correlation_id, order_id, reason | filter status = "FAILED" | sort @timestamp desc'


class Evidence:
    """Looks at metrics, logs and the queue.

    Args:
        logs: A boto3 client of CloudWatch Logs.
        cloudwatch: A boto3 client of CloudWatch.
        sqs: A boto3 client of SQS.
        log_group: The delivery function's log group.
        queue_url: The delivery queue.
    """

    def __init__(
        self,
        logs: CloudWatchLogsClient,
        cloudwatch: CloudWatchClient,
        sqs: SQSClient,
        *,
        log_group: str,
        queue_url: str,
    ) -> None:
        self._logs = logs
        self._cloudwatch = cloudwatch
        self._sqs = sqs
        self._log_group = log_group
        self._queue_url = queue_url

    def gather(self) -> list[str]:
        """Return the lines that can be had."""
        return [line for look in (self._rate, self._queue, self._errors, self._link) for line in _best_effort(look)]

    def _rate(self) -> Iterator[str]:
        end = datetime.now(UTC)
        points = self._cloudwatch.get_metric_statistics(
            Namespace=str(metrics.namespace),
            MetricName=COURIER_FAILURE.name,
            Dimensions=[{"Name": "service", "Value": COURIER_FAILURE.service}],
            StartTime=end - timedelta(seconds=_RECENT_SECONDS),
            EndTime=end,
            Period=_RECENT_SECONDS,
            Statistics=["Average", "SampleCount"],
        )["Datapoints"]
        calls = sum(point["SampleCount"] for point in points)
        if calls:
            failed = sum(point["Average"] * point["SampleCount"] for point in points)
            yield f"Failure rate: {failed / calls:.0%} of {calls:.0f} calls within {_RECENT_SECONDS} s"

    def _queue(self) -> Iterator[str]:
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self._queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        yield f"Orders that wait: {sum(map(int, counts.values()))}"
        end = datetime.now(UTC)
        ages = self._cloudwatch.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": self._queue_url.rpartition("/")[2]}],
            StartTime=end - timedelta(minutes=10),
            EndTime=end,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        if ages:
            yield f"The oldest of them: {max(ages, key=lambda point: point['Timestamp'])['Maximum']:.0f} s"

    def _errors(self) -> Iterator[str]:
        events = self._logs.filter_log_events(
            logGroupName=self._log_group,
            startTime=int((time.time() - _RECENT_SECONDS) * 1000),
            filterPattern='"NotDelivered"',
            limit=_SAMPLES,
        )["events"]
        for event in events:
            line = json.loads(event["message"])
            yield f"Failed: {line.get('reason')} (correlation id {line.get('correlation_id')})"

    def _link(self) -> Iterator[str]:
        yield f"Failed deliveries: {link(_QUERY, [self._log_group], region=os.environ['AWS_REGION'], seconds=3600)}"


def _best_effort(look: Callable[[], Iterator[str]]) -> list[str]:
    try:
        return list(look())
    except Exception as error:  # a message without this piece is better than none
        logger.warning("evidence not to be had", look=look.__name__, reason=f"{type(error).__name__}: {error}")
        return []
