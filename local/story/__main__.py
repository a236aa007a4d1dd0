"""The story of one order: `python -m local.story ID [--stack NAME]`, with its correlation id or its order id.

Works on AWS with the credentials and the Region of the environment, and on this machine with AWS_ENDPOINT_URL as
`python -m local up` prints it. Reads the logs of everything in the stack, from the newest back.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.circuit import read_item
from local.deployed import StackNotFoundError, stack_outputs
from local.durations import read_duration, show_duration
from local.story.search import LogGroups, search
from local.story.timeline import Mark, Story, tell
from local.story.verdict import State

IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A sign beside each colour, for those who do not see the colour.
SIGNS = {Mark.GOOD: ("✓", "green"), Mark.BAD: ("✗", "red"), Mark.WAIT: ("↻", "yellow"), Mark.PLAIN: ("·", "default")}
ENDS = {State.DELIVERED: Mark.GOOD, State.REPEATED: Mark.GOOD, State.WAITING: Mark.WAIT}
console = Console(highlight=False)


def main() -> int:
    """Tell a story. Returns 0, 1 if nothing is known of the order, and 2 if the logs cannot be read."""
    arguments = parse()
    try:
        return run(arguments)
    except (StackNotFoundError, ClientError, BotoCoreError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        return 0


def run(arguments: argparse.Namespace) -> int:
    """Tell the stories of an order. Returns 1 if there are none."""
    stories = read(arguments.id, arguments.stack, arguments.since.total_seconds())
    if arguments.json:
        print(json.dumps([asdict(story) for story in stories], indent=2, ensure_ascii=False))
    else:
        for story in stories:
            show(story)
    if not stories:
        message = (
            f"Nothing is known of {arguments.id} in the logs of stack {arguments.stack} within the last "
            f"{show_duration(arguments.since)}. Look further back (SINCE=7d), check the id and the stack, and give "
            "lines of the last seconds some more of them to arrive."
        )
        print(message, file=sys.stderr)
    return 0 if stories else 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.story", description=__doc__)
    parser.add_argument("id", type=_identifier, help="correlation id or order id")
    parser.add_argument("--stack", default="event-hub", help="name of the CloudFormation stack (event-hub)")
    parser.add_argument(
        "--since", type=read_duration, default="24h", help="how far to look back, such as 90m or 7d (24h)"
    )
    parser.add_argument("--json", action="store_true", help="for machines: one document with every step")
    return parser.parse_args()


def _identifier(text: str) -> str:
    if not IDENTIFIER.fullmatch(text):
        raise argparse.ArgumentTypeError("an id has 1 to 64 letters, digits, dots, underscores and hyphens")
    return text


def read(identifier: str, stack: str, since: float) -> list[Story]:
    """Read the stories of an order, one for each time that it was sent, oldest first.

    Raises:
        StackNotFoundError: There is no such stack.
        botocore.exceptions.ClientError: Its logs may not be read.
    """
    outputs = stack_outputs(stack)
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    names = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Logs::LogGroup"
    }
    patient = Config(retries={"mode": "adaptive", "max_attempts": 10}, max_pool_connections=len(names) + 1)
    now = time.time()
    found = search(LogGroups(names, boto3.client("logs", config=patient)), identifier, now=now, since=since)
    flow_control = "DeliveryTableName" in outputs
    circuit = read_item(outputs)["state"] if flow_control and found.order else "closed"
    stories = [
        tell(
            correlation_id,
            lines,
            now=now,
            circuit_lines=found.circuit,
            circuit=circuit,
            flow_control=flow_control,
        )
        for correlation_id, lines in found.order.items()
        if lines
    ]
    return sorted(stories, key=lambda story: story.received_at)


def show(story: Story) -> None:
    """Print a story: what happened, when since its receipt, how long after the step before, and how it ends."""
    moment = datetime.fromtimestamp(story.received_at, UTC).isoformat(sep=" ", timespec="milliseconds")
    console.print(
        f"\n[bold]{escape(story.order_id or 'an order')}[/bold], received {moment.removesuffix('+00:00')} UTC, "
        f"correlation id {story.correlation_id}\n",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("gap", justify="right", style="dim", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("service", no_wrap=True)
    table.add_column("what happened")
    before = story.received_at
    for step in story.steps:
        sign, colour = SIGNS[step.mark]
        gap = f"+{step.at - before:.2f} s" if step.at - before >= 0.01 else ""
        table.add_row(
            f"{step.at - story.received_at:.2f} s",
            gap,
            f"[{colour}]{sign}[/{colour}]",
            step.service,
            escape(step.text),
        )
        before = step.at
    console.print(table)
    sign, colour = SIGNS[ENDS.get(story.verdict.state, Mark.BAD)]
    console.print(f"\n[{colour}]{sign} {escape(story.verdict.text)}[/{colour}]", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
