"""The stack under load, on AWS or on this machine: its outputs, its queues and its functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import boto3
from botocore.config import Config

from hub.dead_letters import Look, read_letter
from local.deployed import StackNotFoundError, stack_outputs

FUNCTIONS = ("Notification", "Delivery", "Sales")
"""The hub's own functions, by the prefix of their outputs; the courier simulator is not the hub."""

DELIVERY_WORK_QUEUES = ("IngestQueueUrl", "DeliveryQueueUrl")
"""Queues that an order passes on its way to the courier; not every variant has each."""

SIDE_WORK_QUEUES = ("SalesQueueUrl",)

DELIVERY_DEAD_LETTER_QUEUES = (
    "IngestDeadLetterQueueUrl",
    "EventDeadLetterQueueUrl",
    "DeliveryDeadLetterQueueUrl",
)
SIDE_DEAD_LETTER_QUEUES = ("SalesDeadLetterQueueUrl",)

MOST_LETTERS, LOOK_S = 20_000, 100.0
"""Of a queue: more than the published load has orders, and the seconds to look at them."""


class DeployedStack(Protocol):
    """What a load test needs of a stack; `local.stack.Stack` has it too."""

    name: str
    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        """Return a boto3 client for the account that the stack is in."""

    def api_key(self, output: str = "OrdersApiKeyId") -> str:
        """Read the value of the API key whose identifier the stack gives in `output`."""


@dataclass
class CloudFormationStack:
    """A stack in the account, Region and endpoint that boto3 finds in its environment."""

    name: str
    outputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, name: str) -> CloudFormationStack:
        """Read the stack's outputs.

        Raises:
            StackNotFoundError: There is no such stack, or it takes no made-up orders.
        """
        outputs = stack_outputs(name, "OrdersUrl", otherwise="it is not an event hub")
        if "CourierTableName" not in outputs:
            raise StackNotFoundError(
                f"stack {name} delivers to a real courier; made-up orders are for one with DeploySimulator=true"
            )
        return cls(name, outputs)

    def client(self, service: str) -> Any:
        """Return a boto3 client that waits its turn when the account's API limits are reached."""
        config = Config(retries={"mode": "adaptive", "max_attempts": 10})
        return boto3.client(service, config=config)  # type: ignore[call-overload]

    def api_key(self, output: str = "OrdersApiKeyId") -> str:
        """Read the value of the API key whose identifier the stack gives in `output`."""
        key = self.client("apigateway").get_api_key(apiKey=self.outputs[output], includeValue=True)
        return str(key["value"])


def parameters(stack: DeployedStack) -> dict[str, str]:
    """Read the template parameters that the stack was deployed with, as CloudFormation has them."""
    described = stack.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"][0]
    return {p["ParameterKey"]: p["ParameterValue"] for p in described.get("Parameters", [])}


def messages(stack: DeployedStack, queues: tuple[str, ...]) -> dict[str, int]:
    """Messages in each queue, visible, in flight and delayed together.

    The figures of SQS are approximate and settle within a minute after the last change (SQS API,
    GetQueueAttributes).
    """
    sqs = stack.client("sqs")
    states = ("", "NotVisible", "Delayed")
    names = [f"ApproximateNumberOfMessages{state}" for state in states]
    return {
        queue: sum(
            int(value)
            for value in sqs.get_queue_attributes(QueueUrl=stack.outputs[queue], AttributeNames=names)[
                "Attributes"
            ].values()
        )
        for queue in queues
        if stack.outputs.get(queue)
    }


def dead_letters(stack: DeployedStack, queues: tuple[str, ...]) -> dict[str, str | None]:
    """Look at every letter: message id to the order id in it, None where there is none."""
    sqs = stack.client("sqs")
    found: dict[str, str | None] = {}
    for url in filter(None, map(stack.outputs.get, queues)):
        with Look(sqs, url, most=MOST_LETTERS, seconds=LOOK_S) as look:
            letters = [read_letter(message) for message in look]
        found |= {letter.message_id: letter.order_id for letter in letters}
    return found


@dataclass(frozen=True)
class CourierEntry:
    """What the courier knows of an order: accepted calls with an effect, and when the first was."""

    effects: int
    first_accepted_at: float


def courier_orders(stack: DeployedStack) -> dict[str, CourierEntry]:
    """Every order the courier has accepted, by order id, from the simulator's own table."""
    orders: dict[str, CourierEntry] = {}
    for item in _courier_items(stack):
        effects = int(item["effects"]["N"])
        first = float(item["first_accepted_at"]["N"])
        order_id = item["order_id"]["S"]
        if order_id in orders:  # accepted under two idempotency keys
            effects += orders[order_id].effects
            first = min(first, orders[order_id].first_accepted_at)
        orders[order_id] = CourierEntry(effects, first)
    return orders


def _courier_items(stack: DeployedStack) -> Iterator[Mapping[str, Any]]:
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=stack.outputs["CourierTableName"],
            FilterExpression="begins_with(pk, :order) AND attribute_exists(first_accepted_at)",
            ExpressionAttributeValues={":order": {"S": "order#"}},
            ProjectionExpression="order_id, effects, first_accepted_at",
            ConsistentRead=True,
        )
    )
    for page in pages:
        yield from page["Items"]


def function_configuration(stack: DeployedStack, output: str) -> dict[str, Any]:
    """Lambda's configuration of the function whose name the stack gives in `output`."""
    name = stack.outputs[output]
    return dict(stack.client("lambda").get_function_configuration(FunctionName=name))


def to_json(value: Any) -> str:
    """JSON as the reports write it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
