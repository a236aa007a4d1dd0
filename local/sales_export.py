"""What the sales export gave up: `python -m local.sales_export --stack NAME [--order ID …] [--replay]`.

A message of the on-failure queue names a place in SalesTable's stream, and holds no sale. This command fetches the
record from there, while the stream still has it (24 hours), and after that finds the order in the function's log. It
shows both with the reason, and with --replay has the function export the sale, as SalesTable holds it by then; the
message is deleted when that has worked.

Works on AWS with the credentials and the Region of the environment, and on this machine with AWS_ENDPOINT_URL as
`python -m local up` prints it.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from hub.dead_letters import Look
from hub.redaction import redact
from local.deployed import StackNotFoundError, stack_outputs

NEEDED_OUTPUTS = (
    "SalesExportDeadLetterQueueUrl",
    "SalesExportFunctionName",
    "SalesExportLogGroupName",
    "SalesTableName",
)
MOST_LETTERS, SECONDS_TO_WORK = 10_000, 600.0
"""Messages that one call settles at most, and for how long it takes on new ones."""
HIDDEN_SECONDS = 900
"""How long nobody else sees them: a batch of ten that is being settled may invoke the function for a minute each."""
RECORDS_AT_ONCE = 50
READS_OF_STREAM = 100
"""How often the stream is asked for the records of one message."""
LOG_MARGIN = timedelta(minutes=2)
TRIMMED = {"TrimmedDataAccessException", "ResourceNotFoundException"}
console = Console(highlight=False, soft_wrap=True)


class ExportError(RuntimeError):
    """It cannot be done; the message says why, and what to do next."""


@dataclass
class Sale:
    """A sale that was given up.

    Attributes:
        order_id: Its key in SalesTable.
        sequence_number: Where it stands in the stream.
        image: The item as the stream has it, in DynamoDB's JSON; None when the stream has it no more.
        reason: Why the function could not export it; empty when its log does not say.
    """

    order_id: str
    sequence_number: str
    image: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Letter:
    """What a message of the on-failure queue says."""

    body: dict[str, Any] = field(repr=False)

    @property
    def place(self) -> dict[str, Any]:
        """Where in the stream the records stand.

        Raises:
            ExportError: It is no message of Lambda's.
        """
        place = self.body.get("DDBStreamBatchInfo")
        if not isinstance(place, dict):
            raise ExportError(
                "A message names no place in a stream, so it is not from the export's mapping. Find out who sent it, "
                "and delete it by hand"
            )
        return place

    @property
    def headline(self) -> str:
        """When it was given up, why, and after how many tries."""
        context = self.body.get("requestContext", {})
        tries = context.get("approximateInvokeCount", "?")
        return f"{self.body.get('timestamp')} {context.get('condition')} after {tries} tries"

    def covers(self, sequence_number: str) -> bool:
        """Whether a record is among those that were given up."""
        return int(self.place["startSequenceNumber"]) <= int(sequence_number) <= int(self.place["endSequenceNumber"])


class SalesExport:
    """The sales export of a deployed stack.

    Args:
        stack: Name of the CloudFormation stack.

    Raises:
        StackNotFoundError: There is no such stack, or it has no sales export.
    """

    def __init__(self, stack: str) -> None:
        outputs = stack_outputs(stack, *NEEDED_OUTPUTS)
        self.queue, self.function, self.log_group, self.table = (outputs[name] for name in NEEDED_OUTPUTS)
        self.sqs, self.streams, self.logs = boto3.client("sqs"), boto3.client("dynamodbstreams"), boto3.client("logs")
        self.dynamodb = boto3.client("dynamodb")
        # The function may take a minute to answer.
        self.lambda_ = boto3.client("lambda", config=Config(read_timeout=70, retries={"total_max_attempts": 1}))

    def sales(self, letter: Letter) -> list[Sale]:
        """Find out which sales a message is about.

        Raises:
            ExportError: Neither the stream nor the function's log has all of them any more.
        """
        logged = self._logged(letter)
        streamed = [
            Sale(
                record["dynamodb"]["Keys"]["order_id"]["S"],
                number := record["dynamodb"]["SequenceNumber"],
                record["dynamodb"].get("NewImage"),
                logged[number].reason if number in logged else "",
            )
            for record in self._streamed(letter)
        ]
        if streamed:
            return streamed
        if len(logged) < letter.place["batchSize"]:
            known = ", ".join(sorted(sale.order_id for sale in logged.values()))
            raise ExportError(
                f"neither the stream nor {self.log_group} has all {letter.place['batchSize']} records from "
                f"{letter.place['startSequenceNumber']} to {letter.place['endSequenceNumber']} any more"
                f"{f' (the log has {known})' if known else ''}. Look in {self.table} for orders received before "
                f"{letter.place['approximateArrivalOfLastRecord']} that have no object in the bucket, export each with "
                "ORDER=<order id> REPLAY=yes, and delete the message by hand"
            )
        return list(logged.values())

    def _streamed(self, letter: Letter) -> list[dict[str, Any]]:
        """Return the new items among a message's records: all of them, or none when the stream has them no more.

        Raises:
            ExportError: The stream gave a part of them only.
        """
        place = letter.place
        found: list[dict[str, Any]] = []
        try:
            iterator: str | None = self.streams.get_shard_iterator(
                StreamArn=place["streamArn"],
                ShardId=place["shardId"],
                ShardIteratorType="AT_SEQUENCE_NUMBER",
                SequenceNumber=place["startSequenceNumber"],
            )["ShardIterator"]
            # An answer without records is not the end: an open shard has none ("GetRecords", DynamoDB API reference).
            for _ in range(READS_OF_STREAM):
                if iterator is None:
                    break
                answer: Any = self.streams.get_records(ShardIterator=iterator)
                found += answer["Records"]
                if found and int(found[-1]["dynamodb"]["SequenceNumber"]) >= int(place["endSequenceNumber"]):
                    return [
                        record
                        for record in found
                        if record["eventName"] == "INSERT" and letter.covers(record["dynamodb"]["SequenceNumber"])
                    ]
                iterator = answer.get("NextShardIterator")
        except ClientError as error:
            if error.response["Error"]["Code"] not in TRIMMED:
                raise
            return []
        raise ExportError(
            f"the stream did not give all records from {place['startSequenceNumber']} to {place['endSequenceNumber']}. "
            "Nothing was exported: try again"
        )

    def _logged(self, letter: Letter) -> dict[str, Sale]:
        """Give the sales that the function began to export of a message's records, by sequence number.

        Not only those with a reason: an invocation that dies leaves none. One that was exported is exported again,
        which changes nothing.
        """
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.log_group,
            filterPattern='"sequence_number"',
            startTime=_milliseconds(letter.place["approximateArrivalOfFirstRecord"], -LOG_MARGIN),
            endTime=_milliseconds(letter.body["timestamp"], LOG_MARGIN),
        )
        found: dict[str, Sale] = {}
        for line in (_json(event["message"]) for page in pages for event in page["events"]):
            number, order_id = str(line.get("sequence_number", "")), line.get("order_id")
            if number.isdigit() and order_id and letter.covers(number):
                sale = found.setdefault(number, Sale(str(order_id), number))
                sale.reason = str(line.get("reason", "")) or sale.reason
        return found

    def item(self, order_id: str) -> dict[str, Any] | None:
        """Read what SalesTable holds of an order, in DynamoDB's JSON."""
        key = {"order_id": {"S": order_id}}
        return self.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")

    def export(self, sales: list[Sale]) -> set[str]:
        """Have the function export sales, as SalesTable holds them now, and return the order ids it could not export.

        Raises:
            ExportError: The function failed.
        """
        failed: set[str] = set()
        for some in batched(sales, RECORDS_AT_ONCE, strict=False):
            records = {sale.sequence_number: _record(sale, self.item(sale.order_id) or sale.image) for sale in some}
            event = {"Records": list(records.values())}
            answer = self.lambda_.invoke(FunctionName=self.function, Payload=json.dumps(event, default=_base64))
            payload = json.loads(answer["Payload"].read())
            if "FunctionError" in answer:
                raise ExportError(
                    f"{self.function} failed with {payload.get('errorType')}; its log, {self.log_group}, says why. "
                    "Nothing was deleted: mend it and try again"
                )
            numbers = {failure["itemIdentifier"] for failure in payload["batchItemFailures"]}
            failed |= {sale.order_id for sale in some if sale.sequence_number in numbers}
        return failed


def main() -> int:
    """Show what was given up, and replay it if told so. Returns the exit status."""
    arguments = parse()
    try:
        exporter = SalesExport(arguments.stack)
        if arguments.order:
            return replay_orders(exporter, arguments.order, arguments.replay)
        return settle_letters(exporter, arguments.replay, arguments.stack)
    except (StackNotFoundError, ExportError, ClientError, BotoCoreError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
    return 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.sales_export", description=__doc__)
    parser.add_argument("--stack", default="event-hub", help="name of the CloudFormation stack (%(default)s)")
    parser.add_argument("--replay", action="store_true", help="export what is shown, and delete its messages")
    parser.add_argument("--order", action="append", default=[], help="an order of SalesTable instead of the queue's")
    return parser.parse_args()


def settle_letters(exporter: SalesExport, replay: bool, stack: str) -> int:
    """Show each message with its sales; replay them and delete it. What is not settled stays in the queue."""
    shown = unsettled = 0
    with Look(
        exporter.sqs, exporter.queue, most=MOST_LETTERS, seconds=SECONDS_TO_WORK, hidden_seconds=HIDDEN_SECONDS
    ) as look:
        for message in look:
            shown += 1
            try:
                settled = settle(exporter, Letter(_json(message["Body"])), replay)
            except (ExportError, ClientError, BotoCoreError) as error:
                console.print(f"   [red]{escape(str(error))}[/red]")
                settled = False
            if settled:
                look.remove(message)
            else:
                unsettled += 1
    if not shown:
        console.print("The sales export has given nothing up: its on-failure queue is empty.")
    elif not look.exhausted:
        console.print("[red]There are more messages.[/red] Try again for the rest.")
    elif not replay:
        again = f"make export-replay REPLAY=yes STACK={escape(stack)}"
        console.print(f"{_messages(shown)}. When the cause is mended: {again}")
    elif unsettled:
        console.print(f"[red]{_messages(unsettled)} not settled.[/red] Mend the function or the item, and try again.")
    return 1 if not look.exhausted or (replay and unsettled) else 0


def settle(exporter: SalesExport, letter: Letter, replay: bool) -> bool:
    """Show one message's sales, and replay them; returns whether all of them are exported."""
    console.print(f"[bold]{escape(letter.headline)}[/bold]")
    sales = exporter.sales(letter)
    for sale in sales:
        show(exporter, sale)
    if not replay:
        return False
    failed = exporter.export(sales)
    report(exporter, sales, failed)
    return not failed


def replay_orders(exporter: SalesExport, order_ids: list[str], replay: bool) -> int:
    """Show orders of SalesTable, and export them."""
    sales = [Sale(order_id, sequence_number=str(number)) for number, order_id in enumerate(order_ids, start=1)]
    if missing := [sale.order_id for sale in sales if exporter.item(sale.order_id) is None]:
        raise ExportError(f"{exporter.table} has no order {', '.join(missing)}")
    for sale in sales:
        show(exporter, sale)
    if not replay:
        console.print("To export: add REPLAY=yes")
        return 0
    failed = exporter.export(sales)
    report(exporter, sales, failed)
    return 1 if failed else 0


def show(exporter: SalesExport, sale: Sale) -> None:
    """Print a sale without personal data, and what has become of it since."""
    item = exporter.item(sale.order_id)
    console.print(f"   order    {escape(sale.order_id)}, sequence number {sale.sequence_number}")
    if sale.reason:
        console.print(f"   reason   {escape(sale.reason)}")
    shown = sale.image or item
    console.print(f"   record   {escape(json.dumps(redact(shown), default=str, ensure_ascii=False))}")
    if item is None:
        console.print("   table    has it no more; the record of the stream is exported")
    elif sale.image and item != sale.image:
        changed = sorted(key for key in {*item, *sale.image} if item.get(key) != sale.image.get(key))
        console.print(f"   table    has another {escape(', '.join(changed))} by now, which is exported")


def report(exporter: SalesExport, sales: list[Sale], failed: set[str]) -> None:
    """Print what became of each sale."""
    for sale in sales:
        if sale.order_id in failed:
            console.print(
                f"   [red]{escape(sale.order_id)} could not be exported[/red]; {exporter.log_group} says why, under "
                f"its sequence number {sale.sequence_number}"
            )
        else:
            console.print(f"   [green]{escape(sale.order_id)} is exported[/green]")


def _record(sale: Sale, image: dict[str, Any] | None) -> dict[str, Any]:
    """Make the record that the mapping would hand to the function."""
    return {
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": {"order_id": {"S": sale.order_id}},
            "SequenceNumber": sale.sequence_number,
            **({} if image is None else {"NewImage": image}),
        },
    }


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _milliseconds(timestamp: str, margin: timedelta) -> int:
    return round((datetime.fromisoformat(timestamp) + margin).timestamp() * 1000)


def _json(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _base64(value: Any) -> str:
    """Write binary values as Lambda does in its events."""
    return base64.b64encode(bytes(value)).decode()


if __name__ == "__main__":
    sys.exit(main())
