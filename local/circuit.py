"""The circuit breaker by hand: `python -m local.circuit status|open|probe|close --stack NAME`.

Works on AWS with the credentials and the Region of the environment, and on this machine with AWS_ENDPOINT_URL as
`python -m local up` prints it. Whoever opens, probes or closes says why; the reason is recorded and announced.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from hub.circuit import ITEM_KEY
from local.deployed import StackNotFoundError, stack_outputs

console = Console(highlight=False)


def main() -> int:
    """Run one command. Returns the exit status."""
    arguments = parse()
    try:
        outputs = stack_outputs(
            arguments.stack, "CircuitBreakerArn", otherwise="it has no circuit breaker, with FlowControl=disabled"
        )
        if arguments.action == "status":
            return show(outputs)
        return start(outputs, arguments.action, arguments.reason, arguments.stack)
    except (StackNotFoundError, ClientError, BotoCoreError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.circuit", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="action")
    for action, text in {
        "status": "show item, mapping and machine",
        "open": "stop deliveries now; the circuit probes and closes by itself after its wait",
        "probe": "try single orders now, whatever the circuit is waiting for",
        "close": "let deliveries flow again without probes, slowly at first",
    }.items():
        command = commands.add_parser(action, help=text)
        command.add_argument("--stack", default="event-hub", help="name of the CloudFormation stack (%(default)s)")
        if action != "status":
            command.add_argument("--reason", required=True, type=_reason, help="why; recorded and announced")
    return parser.parse_args()


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why")
    return text.strip()


def read_item(outputs: dict[str, str], client: Any = None) -> dict[str, str]:
    """Read the circuit's item as text; a circuit that has never opened has none, and is closed."""
    dynamodb = client or boto3.client("dynamodb")
    answer = dynamodb.get_item(TableName=outputs["DeliveryTableName"], Key={"pk": {"S": ITEM_KEY}}, ConsistentRead=True)
    item = {name: str(next(iter(value.values()))) for name, value in answer.get("Item", {}).items()}
    return {"state": "closed", "version": "0"} | item


def show(outputs: dict[str, str]) -> int:
    """Print item, mapping and machine."""
    item = read_item(outputs)
    mapping = boto3.client("lambda").get_event_source_mapping(UUID=outputs["DeliveryMappingId"])
    running = boto3.client("stepfunctions").list_executions(
        stateMachineArn=outputs["CircuitBreakerArn"], statusFilter="RUNNING"
    )["executions"]
    rows = {"circuit": item["state"]}
    if item["state"] != "closed":
        rows |= {
            "since": item.get("since", "?"),
            "reason": item.get("reason", "?"),
            "caused by": item.get("cause", "?"),
        }
        rows |= {"failed rounds": item.get("failures", "0")}
    concurrency = mapping.get("ScalingConfig", {}).get("MaximumConcurrency", "no cap")
    rows |= {"mapping": f"{mapping['State']}, MaximumConcurrency {concurrency}"}
    rows |= {"machine": ", ".join(execution["name"] for execution in running) or "none runs"}
    for name, value in rows.items():
        console.print(f"{name:14} {escape(str(value))}")
    return 0


def start(outputs: dict[str, str], action: str, reason: str, stack: str) -> int:
    """Start the machine with an action."""
    given = {"action": action, "reason": reason, "cause": "person"}
    execution = boto3.client("stepfunctions").start_execution(
        stateMachineArn=outputs["CircuitBreakerArn"], input=json.dumps(given)
    )
    console.print(f"{datetime.now(UTC):%H:%M:%S} {action}: started {execution['executionArn']}", soft_wrap=True)
    console.print(f"See how it goes: make circuit-status STACK={escape(stack)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
