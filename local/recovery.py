"""Dead letters by hand: `python -m local.recovery letters|redrive|replay --stack NAME`.

Works on AWS with the credentials and the Region of the environment, and on this machine with AWS_ENDPOINT_URL as
`python -m local up` prints it. What a redrive and a replay do is in docs/dead-letters.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hub.dead_letters import Home, Letter, Look, count, read_homes, read_letter
from hub.redrive import DEFAULT_RATE, InvalidPlan, read_plan
from hub.replay import InvalidReplay, read_rules, read_window
from local.deployed import StackNotFoundError, stack_outputs
from local.durations import read_duration, show_duration

MOST_LETTERS = 1000
console = Console(highlight=False)


class ExecutionError(RuntimeError):
    """The state machine did not come to its end; the message says why."""


def main() -> int:
    """Run one command. Returns the exit status: 0 when it was done, 1 when it was not, 2 for a mistyped command."""
    arguments = parse()
    try:
        outputs = stack_outputs(arguments.stack, "RedriveArn", "ReplayArn", "RecoveryFunctionName", "LetterTableName")
        variables = read_variables(outputs)
        if arguments.action == "letters":
            return show_letters(read_homes(variables["DEAD_LETTER_QUEUES"]), arguments.stack)
        if arguments.action == "redrive":
            return redrive(outputs, variables, arguments)
        return replay(outputs, variables, arguments)
    except (StackNotFoundError, ExecutionError, InvalidPlan, InvalidReplay, ClientError, BotoCoreError) as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 1
    except KeyboardInterrupt:
        console.print("No longer watched. It goes on by itself, and reports to the alarm topic.")
        return 130


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.recovery", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="action")
    letters = commands.add_parser("letters", help="show every dead-letter queue, with counts, reasons and ages")
    redriving = commands.add_parser("redrive", help="send the letters of a queue to where they came from")
    redriving.add_argument("--queue", required=True, help="a name that `letters` shows")
    redriving.add_argument("--rate", type=float, default=DEFAULT_RATE, help="letters a second (%(default)g)")
    redriving.add_argument("--only-reason", default="", help="move only letters whose reason contains this")
    redriving.add_argument("--maximum", type=int, help="letters to move at most (all)")
    replaying = commands.add_parser("replay", help="replay a window of the archive to one consumer")
    replaying.add_argument("--rule", required=True, help="the consumer: sales or delivery")
    for end in ("from", "to"):
        replaying.add_argument(
            f"--{end}", required=True, type=_moment, dest=f"{end}_", help="2026-11-21T09:00:00Z, now, -30m, -2h or -1d"
        )
    for command in (letters, redriving, replaying):
        command.add_argument("--stack", default="event-hub", help="name of the CloudFormation stack (%(default)s)")
    return parser.parse_args()


def _moment(text: str) -> str:
    """Read a time, or how long ago it was."""
    if text != "now" and not text.startswith("-"):
        return text
    ago = timedelta() if text == "now" else read_duration(text[1:])
    return f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%SZ}"


def read_variables(outputs: dict[str, str]) -> dict[str, str]:
    """Read the settings of the function that redrives and replays, which knows the stack's queues and rules."""
    configuration = boto3.client("lambda").get_function_configuration(FunctionName=outputs["RecoveryFunctionName"])
    return configuration["Environment"]["Variables"]


# ------------------------------------------------------------------------------------------------- the letters


def show_letters(homes: dict[str, Home], stack: str) -> int:
    """Print a table of all dead-letter queues."""
    sqs = boto3.client("sqs")
    table = Table("queue", "letters", "of them", "reason", "oldest", "a correlation id", title="Dead letters")
    for number in (1, 2, 4):
        table.columns[number].justify = "right"
    table.columns[5].overflow = "fold"  # to be copied whole
    ways: list[str] = []
    with console.status("looking at the queues"):
        for home in homes.values():
            total = count(sqs, home.url)
            letters = [read_letter(message) for message in look_at(sqs, home)]
            _add_rows(table, home, total, letters)
            if letters:
                ways += [f"{home.name:<12} {home.way(stack)}"]
    console.print(table)
    if ways:
        console.print("\nPut them right, when the cause is mended:")
        for way in ways:
            console.print(f"  {way}", markup=False, soft_wrap=True)
    return 0


def look_at(sqs: Any, home: Home) -> list[Any]:
    """Look at a queue's letters; they stay there."""
    with Look(sqs, home.url, most=MOST_LETTERS) as look:
        return list(look)


def _add_rows(table: Table, home: Home, total: int, letters: list[Letter]) -> None:
    if not letters:
        table.add_row(home.name, f"{total:,}", "", "[dim]none to be seen[/dim]" if total else "[dim]none[/dim]", "", "")
        return
    causes = Counter(letter.cause for letter in letters)
    for position, (cause, number) in enumerate(causes.most_common()):
        oldest = min((letter for letter in letters if letter.cause == cause), key=lambda letter: letter.sent_at)
        again = " [dim](sent again before)[/dim]" if oldest.redriven else ""
        name, all_of_them = (home.name, f"{max(total, len(letters)):,}") if position == 0 else ("", "")
        table.add_row(
            name,
            all_of_them,
            f"{number:,}",
            escape(cause[:200]) + again,
            show_duration(datetime.now(UTC) - oldest.sent_at),
            escape(oldest.correlation_id or "unknown"),
        )
    if total > len(letters):
        table.add_row("", "", "", f"[dim]the first {len(letters):,} are counted by reason[/dim]", "", "")


# ------------------------------------------------------------------------------------------ redrive and replay


def redrive(outputs: dict[str, str], variables: dict[str, str], arguments: argparse.Namespace) -> int:
    """Start a redrive, show how it goes, and print its report.

    Raises:
        InvalidPlan: It cannot be made like this. Nothing was started, and nobody is bothered.
    """
    homes = read_homes(variables["DEAD_LETTER_QUEUES"])
    given = {name: getattr(arguments, name) for name in ("queue", "rate", "only_reason", "maximum")}
    plan = read_plan(given, homes)
    dynamodb, sqs = boto3.client("dynamodb"), boto3.client("sqs")

    def progress() -> str:
        claim = dynamodb.get_item(
            TableName=outputs["LetterTableName"], Key={"pk": {"S": f"redrive#{plan.queue}"}}, ConsistentRead=True
        ).get("Item", {})
        return f"sent again {claim.get('moved', {}).get('N', '0')}, left {count(sqs, homes[plan.queue].url):,}"

    return run(outputs["RedriveArn"], plan.document(), progress)


def replay(outputs: dict[str, str], variables: dict[str, str], arguments: argparse.Namespace) -> int:
    """Start a replay, wait for its end, and print its report.

    Raises:
        InvalidReplay: It cannot be made like this. Nothing was started, and nobody is bothered.
    """
    given = {"rule": arguments.rule, "from": arguments.from_, "to": arguments.to_}
    days = float(variables["ARCHIVE_RETENTION_DAYS"])
    read_window(given, read_rules(variables["REPLAY_RULES"]), retention_days=days, now=datetime.now(UTC))
    return run(outputs["ReplayArn"], given, lambda: "EventBridge replays the window, minute by minute")


def run(machine: str, given: dict[str, Any], progress: Any) -> int:
    """Start a state machine and wait for its end. Returns 0 if it has done what was asked for."""
    machines = boto3.client("stepfunctions")
    execution = machines.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    console.print(f"{datetime.now(UTC):%H:%M:%S} started {execution}", soft_wrap=True)
    with console.status("started") as status:
        while (described := machines.describe_execution(executionArn=execution))["status"] == "RUNNING":
            status.update(progress())
            time.sleep(1)
    if described["status"] != "SUCCEEDED":
        why = described.get("cause") or described["status"]
        raise ExecutionError(f"{described.get('error', described['status'])}: {why}")
    report = json.loads(described["output"])
    console.print(f"{datetime.now(UTC):%H:%M:%S} [bold]{escape(report.pop('result'))}[/bold]: {escape(report['why'])}")
    for name, label in LABELS.items():
        value = report.get(name)
        if value not in (None, "", "?") and (value or name == "moved"):
            console.print(f"{label:<28} {escape(str(value))}")
    return 0 if json.loads(described["output"])["result"] == "done" else 1


LABELS = {
    "queue": "queue",
    "moved": "sent again",
    "for_good": "  refused for good before",
    "skipped": "left alone",
    "back": "came back already",
    "left": "left in the queue, about",
    "rule": "consumer",
    "from": "from",
    "to": "to",
    "mark": "replay",
}


if __name__ == "__main__":
    sys.exit(main())
