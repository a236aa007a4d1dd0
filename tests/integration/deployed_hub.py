"""A deployed hub as its users see it: orders go in, and deliveries, sales and dead letters come out."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

import boto3.dynamodb.types

from local.stack import CREDENTIALS, REGION, ROOT, Stack

_DESERIALIZE = boto3.dynamodb.types.TypeDeserializer().deserialize


def order(**changes: Any) -> dict[str, Any]:
    """Make an order with an id of its own."""
    return {
        "order_id": f"ord-{uuid4().hex[:12]}",
        "placed_at": "2026-11-21T08:00:00Z",
        "currency": "EUR",
        "total": 59.9,
        "customer": {"name": "Ada Lovelace", "email": "ada@example.com", "phone": "+44 20 7946 0018"},
        "delivery_address": {
            "line1": "12 St James's Square",
            "postal_code": "SW1Y 4JH",
            "city": "London",
            "country": "GB",
        },
        "items": [{"sku": "W-100", "name": "Widget", "quantity": 2, "unit_price": 29.95}],
    } | changes


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def eventually[Result](condition: Callable[[], Result], *, within: float, what: str) -> Result:
    """Return the condition's first true result.

    Raises:
        AssertionError: It did not come true within some seconds.
    """
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.3)


class Hub:
    """A hub that is deployed.

    Args:
        stack: Its stack.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sqs = stack.client("sqs")
        self.dynamodb = stack.client("dynamodb")
        self.machines = stack.client("stepfunctions")

    @cached_property
    def api_key(self) -> str:
        """The shop's key."""
        return self.stack.api_key()

    def send(self, body: bytes, headers: dict[str, str] | None = None, *, path: str = "") -> Answer:
        """Send bytes to the order webhook; a header that is given replaces the usual one, an empty one removes it."""
        sent = {"content-type": "application/json", "x-api-key": self.api_key} | (headers or {})
        return self._request("POST", self.stack.outputs["OrdersUrl"] + path, body, sent)

    def place(self, *orders: dict[str, Any]) -> list[str]:
        """Send orders, each of which must be accepted, and return their order ids."""
        for one in orders:
            answer = self.send(json.dumps(one).encode())
            assert answer.status == 202, answer
        return [one["order_id"] for one in orders]

    @contextmanager
    def throttled(self, *, rate: float, burst: int) -> Iterator[None]:
        """Let the API take fewer orders for a while, as IngestRate and IngestBurst do at a deployment."""
        gateway, plan = self.stack.client("apigateway"), self.stack.physical_id("OrdersUsagePlan")

        def limit(limits: dict[str, float]) -> None:
            changes = {"rateLimit": str(limits["rateLimit"]), "burstLimit": str(int(limits["burstLimit"]))}
            gateway.update_usage_plan(
                usagePlanId=plan,
                patchOperations=[
                    {"op": "replace", "path": f"/throttle/{name}", "value": v} for name, v in changes.items()
                ],
            )

        usual = gateway.get_usage_plan(usagePlanId=plan)["throttle"]
        limit({"rateLimit": rate, "burstLimit": burst})
        try:
            yield
        finally:
            limit(usual)

    def command(self, module: str, *arguments: str, stack: str = "") -> subprocess.CompletedProcess[str]:
        """Run `python -m module` for this stack, or for another one, as a person does."""
        aimed = {"AWS_ENDPOINT_URL": self.stack.endpoint, "AWS_DEFAULT_REGION": REGION, "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments, "--stack", stack or self.stack.name],
            cwd=ROOT,
            env=os.environ | CREDENTIALS | aimed,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, machine: str, given: dict[str, Any]) -> str:
        """Start the state machine whose ARN the stack gives in an output; returns the execution."""
        answer = self.machines.start_execution(stateMachineArn=self.stack.outputs[machine], input=json.dumps(given))
        return str(answer["executionArn"])

    def ended(self, execution: str, *, within: float) -> dict[str, Any]:
        """Wait for the end of an execution; returns its description."""

        def end() -> dict[str, Any] | None:
            described = self.machines.describe_execution(executionArn=execution)
            return None if described["status"] == "RUNNING" else dict(described)

        described = eventually(end, within=within, what=f"{execution} ends")
        assert described is not None
        return described

    def switch_courier(self, mode: str, retry_after: int = 1) -> None:
        """Switch the courier simulator into a mode."""
        address = self.stack.outputs["CourierUrl"].replace("/deliveries", "/mode")
        body = json.dumps({"mode": mode, "retry_after": retry_after}).encode()
        key = self.stack.api_key("CourierApiKeyId")
        answer = self._request("PUT", address, body, {"content-type": "application/json", "x-api-key": key})
        assert answer.status == 200, answer

    def effects(self, order_ids: Iterable[str]) -> dict[str, int]:
        """How often the courier accepted each of the orders; orders that it was never asked for are missing."""
        wanted = set(order_ids)
        return {row["order_id"]: int(row.get("effects", 0)) for row in self._rows("CourierTableName", wanted)}

    def calls(self, order_ids: Iterable[str]) -> dict[str, int]:
        """How often the courier was called for each of the orders."""
        wanted = set(order_ids)
        return {row["order_id"]: int(row["calls"]) for row in self._rows("CourierTableName", wanted)}

    def sold(self, order_ids: Iterable[str]) -> list[dict[str, Any]]:
        """What sales has recorded of the orders."""
        return self._rows("SalesTableName", set(order_ids))

    def delivered(self, order_ids: Iterable[str], *, within: float) -> None:
        """Wait until the courier has accepted every order, and see that it did so once."""
        wanted = list(order_ids)

        def all_accepted() -> bool:
            return len([count for count in self.effects(wanted).values() if count]) == len(wanted)

        eventually(all_accepted, within=within, what=f"{len(wanted)} orders delivered: {self.effects(wanted)}")
        assert set(self.effects(wanted).values()) == {1}, "each order has one effect at the courier"

    def waiting(self, queue: str) -> int:
        """Messages in a queue, hidden and delayed ones included."""
        names = ("", "NotVisible", "Delayed")
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.stack.outputs[queue], AttributeNames=["All"])[
            "Attributes"
        ]
        return sum(int(attributes[f"ApproximateNumberOfMessages{name}"]) for name in names)

    def dead_letters(self, queue: str, count: int, *, within: float = 20.0) -> list[tuple[str, dict[str, str]]]:
        """Wait for dead letters, take them out of their queue, and return body and attributes of each."""
        url = self.stack.outputs[queue]
        letters: list[tuple[str, dict[str, str]]] = []

        def enough() -> bool:
            answer = self.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
            )
            for message in answer.get("Messages", []):
                attributes = message.get("MessageAttributes", {})
                letters.append((message["Body"], {name: value["StringValue"] for name, value in attributes.items()}))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return len(letters) >= count

        eventually(enough, within=within, what=f"{count} dead letters in {queue}")
        return letters

    def _rows(self, table: str, order_ids: set[str]) -> list[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.stack.outputs[table])
        items = itertools.chain.from_iterable(page["Items"] for page in pages)
        rows = ({name: _DESERIALIZE(value) for name, value in item.items()} for item in items)
        return [row for row in rows if row.get("order_id") in order_ids]

    @staticmethod
    def _request(method: str, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        present = {name: value for name, value in headers.items() if value}
        request = urllib.request.Request(url, data=body, headers=present, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, json.loads(answer.read()), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()), dict(error.headers))
