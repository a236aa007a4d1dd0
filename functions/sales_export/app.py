"""Exports each new sale once, as a line of JSON in S3, for marketing: SalesTable's stream -> SalesExportBucket.

A record that cannot be exported is reported, and every other record of its batch is exported all the same: however
the platform cuts and repeats batches until the bad record is alone, it finds the others done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from hub import settings
from hub.instrument import LambdaContext, in_parallel, instrument, record_status
from hub.measures import SALES_EXPORTED
from sale import read_sale

# What is left of the invocation's time when records that are still being written count as failed.
SECONDS_TO_ANSWER = 3.0


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    export_bucket_name: str
    export_prefix: str
    batch_size: int


SETTINGS = settings.load(Settings)
S3 = boto3.client(
    "s3",
    config=Config(
        max_pool_connections=SETTINGS.batch_size,
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 5},
    ),
)

type Record = Mapping[str, Any]


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """Export the records of a batch, and answer which of them could not be."""
    records: list[Record] = event["Records"]
    seconds = context.get_remaining_time_in_millis() / 1000 - SECONDS_TO_ANSWER
    failed = in_parallel(export, records, timeout=seconds)
    SALES_EXPORTED.add(len(records) - len(failed))
    return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]} for record in failed]}


def export(record: Record) -> None:
    """Write the line of one record.

    Raises:
        hub.events.UnreadableEvent: The record holds no sale.
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: S3 did not take it.
    """
    change = record["dynamodb"]
    image = change.get("NewImage")
    with record_status(
        "sale",
        _text(image, "correlation_id"),
        order_id=_text(change.get("Keys"), "order_id"),
        sequence_number=change["SequenceNumber"],
    ):
        sale = read_sale(image)
        S3.put_object(
            Bucket=SETTINGS.export_bucket_name,
            Key=f"{SETTINGS.export_prefix}/{sale.key}",
            Body=sale.line,
            ContentType="application/x-ndjson",
        )


def _text(item: Any, name: str) -> str | None:
    """Read a text of an item that may be anything."""
    match item:
        case {**attributes}:
            match attributes.get(name):
                case {"S": str(text)}:
                    return text
    return None
