"""Event source mappings that read a DynamoDB stream: batches that fail are cut, tried again, and given up.

AWS ("Using Lambda with DynamoDB", Lambda developer guide): with ReportBatchItemFailures, the lowest
sequence number that the function returns is the checkpoint, and the records from there on are tried
again ("Configuring partial batch response"). When an invocation fails and BisectBatchOnFunctionError
is on, the batch is halved; a split does not count towards MaximumRetryAttempts. Records that have
used up their retries, or are older than MaximumRecordAgeInSeconds, are discarded, and a message
without the records goes to the on-failure destination ("Retain discarded records"). Throttles are
retried until the records are too old. AWS/Lambda IteratorAge is the age of the last record of a batch
("Types of metrics for Lambda functions"). The batching window holds for streams, too.
ministack: takes any answer of the function for a success, ignores bisecting, retries and window,
tries a batch that fails for ever (or until its records are too old), counts one attempt in the
message, publishes no IteratorAge, and reads no queue while a function works on a stream.

Where the checkpoint is the first record of the batch, the answer says as much as a failed
invocation, and the batch is halved; the documentation leaves that open. There is one shard, and
ParallelizationFactor is 1. On-failure destinations are queues.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from local.gaps.emulator import Emulator
from local.gaps.scopes import in_scope

SHARD = "shardId-00000000000000000000-00000000"
THROTTLE_SECONDS = 1.0

Record = dict[str, Any]
Mapping = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Records that are handed to the function together, and how often just these were tried in vain."""

    records: tuple[Record, ...]
    tries: int = 0


@dataclass
class Shard:
    """What a mapping has read of its shard and not settled yet."""

    batches: deque[Batch] = field(default_factory=deque)
    window_ends: float | None = None
    not_before: float = 0.0


def install(emulator: Emulator) -> None:
    """Replace the emulator's poller of DynamoDB streams."""
    from ministack.services import lambda_svc

    shards: dict[str, Shard] = {}

    def replace(_original: Any) -> Any:
        def poll() -> bool:
            mappings = list(lambda_svc._iter_all_esms())
            for gone in shards.keys() - {mapping["UUID"] for _, _, mapping in mappings}:
                del shards[gone]
            worked = False
            for account, region, mapping in mappings:
                worked |= in_scope(account, region, poll_mapping, mapping, shards)
            return worked

        return poll

    emulator.wrap(lambda_svc, "_poll_dynamodb_streams", replace, parameters=())


def poll_mapping(mapping: Mapping, shards: dict[str, Shard]) -> bool:
    """Give the function its next batch, unless it works on one; returns whether there was something to do."""
    from ministack.services import lambda_svc

    table = table_of(mapping)
    function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
    if table is None or function is None or not mapping.get("Enabled", True):
        return False
    shard = shards.setdefault(mapping["UUID"], Shard())
    if lambda_svc._esm_inflight.get(mapping["UUID"]) or time.time() < shard.not_before:
        return False
    if not shard.batches and not read(mapping, table, shard):
        return False
    if shard.batches:
        lambda_svc._dispatch_esm_batch(mapping["UUID"], run, mapping, function, shard)
    return True


def table_of(mapping: Mapping) -> str | None:
    """The table whose stream a mapping reads; None if it reads something else, or the stream is gone."""
    from ministack.services import dynamodb

    arn = str(mapping.get("EventSourceArn", ""))
    if ":dynamodb:" not in arn or "/stream/" not in arn:
        return None
    name = arn.split("/")[1]
    return name if (dynamodb._tables.get(name) or {}).get("LatestStreamArn") == arn else None


def read(mapping: Mapping, table: str, shard: Shard) -> bool:
    """Read the next records off the stream, once the batch is full or the window is over."""
    from ministack.services import dynamodb, lambda_svc

    positions, size = lambda_svc._dynamodb_stream_positions, int(mapping.get("BatchSize") or 100)
    with lambda_svc._dynamodb_stream_positions_lock:
        position = max(positions.get(mapping["UUID"], 0), dynamodb.stream_start_position(table))
    records = dynamodb.stream_records_since(table, position, size)
    if not records:
        return False
    window = float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
    if shard.window_ends is None:
        shard.window_ends = time.time() + window
        wake_after(window)
    if len(records) < size and time.time() < shard.window_ends:
        return False
    shard.window_ends = None
    with lambda_svc._dynamodb_stream_positions_lock:
        positions[mapping["UUID"]] = position + len(records)
    if wanted := lambda_svc._apply_filter_criteria(records, mapping):
        shard.batches.append(Batch(tuple(wanted)))
    return True


def run(mapping: Mapping, function: dict[str, Any], shard: Shard) -> None:
    """Try the first batch once, and put what is left of it in its place."""
    left = attempt(mapping, function, shard, shard.batches[0])
    shard.batches.popleft()
    shard.batches.extendleft(reversed(left))


def attempt(mapping: Mapping, function: dict[str, Any], shard: Shard, batch: Batch) -> list[Batch]:
    """Hand a batch to the function, unless it is too old; returns what is to be tried again."""
    from ministack.services import cloudwatch, lambda_svc

    old, young = by_age(batch, mapping.get("MaximumRecordAgeInSeconds"), time.time())
    if old:
        discard(mapping, function, Batch(old, batch.tries), "RecordAgeExceeded", {})
        return [Batch(young)] if young else []
    age = max(0.0, time.time() - created(batch.records[-1])) * 1000
    dimensions = {"FunctionName": mapping["FunctionName"]}
    cloudwatch.record_metric("AWS/Lambda", "IteratorAge", age, "Milliseconds", dimensions)
    result = lambda_svc._execute_function(function, {"Records": list(batch.records)})
    if result.get("throttle"):
        shard.not_before = time.time() + THROTTLE_SECONDS
        wake_after(THROTTLE_SECONDS)
        return [batch]
    failed = first_failed(batch, result, "ReportBatchItemFailures" in mapping.get("FunctionResponseTypes", []))
    mapping["LastProcessingResult"] = "OK" if failed is None else "PROBLEM: Function call failed"
    left = remaining(batch, failed, bisect=bool(mapping.get("BisectBatchOnFunctionError")))
    if len(left) == 1 and left[0].tries > most_retries(mapping):
        discard(mapping, function, left[0], "RetryAttemptsExhausted", result)
        return []
    return left


def first_failed(batch: Batch, result: dict[str, Any], reports: bool) -> int | None:
    """The index of the first record that failed; None if none did.

    An identifier that is empty, or none of the batch's, makes the whole batch a failure ("Success and
    failure conditions").
    """
    if result.get("error"):
        return 0
    body = result.get("body")
    failures = (body.get("batchItemFailures") if isinstance(body, dict) else None) or []
    if not reports or not failures:
        return None
    indices = {record["dynamodb"]["SequenceNumber"]: index for index, record in enumerate(batch.records)}
    return min(indices.get(failure.get("itemIdentifier"), 0) for failure in failures)


def remaining(batch: Batch, failed: int | None, *, bisect: bool) -> list[Batch]:
    """What is left of a batch whose record at an index was the first that failed."""
    if failed is None:
        return []
    if failed > 0:
        return [Batch(batch.records[failed:])]
    if bisect and len(batch.records) > 1:
        middle = len(batch.records) // 2
        return [Batch(batch.records[:middle]), Batch(batch.records[middle:])]
    return [Batch(batch.records, batch.tries + 1)]


def most_retries(mapping: Mapping) -> float:
    """How often the same records are tried again; without a limit for ever."""
    retries = mapping.get("MaximumRetryAttempts")
    return float("inf") if retries is None or int(retries) < 0 else int(retries)


def by_age(batch: Batch, maximum: Any, now: float) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """A batch's records that are too old, and the others."""
    limit = float("inf") if maximum is None or int(maximum) < 0 else int(maximum)
    old = tuple(record for record in batch.records if now - created(record) > limit)
    return old, batch.records[len(old) :]


def discard(mapping: Mapping, function: dict[str, Any], batch: Batch, condition: str, result: dict[str, Any]) -> None:
    """Tell the on-failure queue where in the stream the discarded records stand."""
    from ministack.services import sqs

    arn = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination", "")
    queue = sqs._queue_by_arn(arn) if ":sqs:" in arn else None
    if queue is None:
        return
    config = function.get("config") or function
    first, last = batch.records[0], batch.records[-1]
    response = {"statusCode": 200, "executedVersion": "$LATEST"}
    if result.get("error"):
        response["functionError"] = "Unhandled"
    message = {
        "requestContext": {
            "requestId": str(first["eventID"]),
            "functionArn": config.get("FunctionArn", ""),
            "condition": condition,
            "approximateInvokeCount": batch.tries,
        },
        "responseContext": response,
        "version": "1.0",
        "timestamp": iso(time.time()),
        "DDBStreamBatchInfo": {
            "shardId": SHARD,
            "startSequenceNumber": first["dynamodb"]["SequenceNumber"],
            "endSequenceNumber": last["dynamodb"]["SequenceNumber"],
            "approximateArrivalOfFirstRecord": iso(created(first)),
            "approximateArrivalOfLastRecord": iso(created(last)),
            "batchSize": len(batch.records),
            "streamArn": mapping["EventSourceArn"],
        },
    }
    sqs._act_send_message({"QueueUrl": queue["url"], "MessageBody": json.dumps(message)}, queue["url"])


def created(record: Record) -> float:
    """When the change was made, in seconds since the epoch."""
    return float(record["dynamodb"]["ApproximateCreationDateTime"])


def iso(seconds: float) -> str:
    """A time as the messages of a mapping have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def wake_after(seconds: float) -> None:
    """Let the poller look again after some seconds."""
    from ministack.services import lambda_svc

    timer = threading.Timer(seconds, lambda_svc.esm_wake.set)
    timer.daemon = True
    timer.start()
