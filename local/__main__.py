"""Command line: `python -m local up|down|status|logs|courier|key`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from functions.slow_api.behaviour import MODES
from rich.console import Console
from rich.markup import escape

from local.stack import (
    CREDENTIALS,
    REGION,
    ROOT,
    VARIANTS,
    EmulatorSettings,
    RunningEmulator,
    Stack,
    StackError,
    write_record,
)

EXAMPLE_ORDER = {
    "order_id": "ord-1",
    "placed_at": "2026-01-31T12:00:00Z",
    "currency": "EUR",
    "total": 59.9,
    "customer": {"name": "Ada"},
    "delivery_address": {"line1": "1 Main Street", "postal_code": "10115", "city": "Berlin", "country": "DE"},
    "items": [{"sku": "widget", "quantity": 2, "unit_price": 29.95}],
}
LONGEST_FIRST = sorted(VARIANTS, key=len, reverse=True)
"""One variant's name ends with the other's."""

SHOWN_OUTPUTS = ("OrdersUrl", "HubBusName", "SalesTableName", "SalesExportBucketName", "CourierUrl", "CourierTableName")
RECORDS = ROOT / ".local"
console = Console(highlight=False)


def main() -> int:
    """Run one command. Returns the exit status."""
    arguments = parse()
    try:
        return int(arguments.run(arguments))
    except StackError as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except BrokenPipeError:
        return 0


def parse() -> argparse.Namespace:
    """The command line's arguments; `run` is the command's function."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("up", help="start the emulator and deploy the stack to it")
    command.add_argument("--variant", choices=[*VARIANTS, "both"], default="flow-control")
    command.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    command.add_argument(
        "--async-retry-seconds",
        type=float,
        default=60.0,
        help="wait before the first retry of a failed asynchronous invocation (60 on AWS)",
    )
    command.add_argument("--show-key", action="store_true", help="print the API key in full")
    command.set_defaults(run=up)

    command = commands.add_parser("down", help="stop what `up` started")
    command.set_defaults(run=down)

    command = commands.add_parser("status", help="show what runs")
    command.add_argument("--show-key", action="store_true", help="print the API key in full")
    command.set_defaults(run=status)

    command = commands.add_parser("key", help="print the API key of a stack that runs")
    command.add_argument("--variant", choices=[*VARIANTS], default="flow-control")
    command.set_defaults(run=key)

    command = commands.add_parser("logs", help="show the functions' logs and the emulator's")
    command.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    command.add_argument("--minutes", type=float, default=5.0, help="how far to look back")
    command.set_defaults(run=logs)

    command = commands.add_parser("courier", help="switch the mode of the simulated courier")
    command.add_argument("mode", help=f"one of {', '.join(MODES)}")
    command.set_defaults(run=courier)

    for command in commands.choices.values():
        command.add_argument("--name", default="hub", help="name of this copy, for several at once")
    return parser.parse_args()


def up(arguments: argparse.Namespace) -> int:
    """Start an emulator (or use the one that runs under this name) and deploy."""
    started = time.monotonic()
    record = read_record(arguments.name)
    emulator = attach(record) if record else None
    fresh = emulator is None or not emulator.alive
    if emulator is None or fresh:
        if emulator is not None:
            emulator.stop()
        settings = EmulatorSettings(async_retry_base_seconds=arguments.async_retry_seconds)
        emulator = RunningEmulator.start(settings, detached=True, progress=say)
    stacks = [] if fresh or record is None else list(record["stacks"])
    # Before the deployment, so that `down` finds the emulator even if this command is ended in the middle of it.
    write_record(record_path(arguments.name), {"emulator": emulator.to_json(), "stacks": stacks})
    try:
        variants = list(VARIANTS) if arguments.variant == "both" else [arguments.variant]
        own = dict(pair.split("=", 1) for pair in arguments.parameter)
        wanted = {f"{arguments.name}-{variant}": VARIANTS[variant] | own for variant in variants}
        emulator.deploy_all(wanted)
        stacks = list(dict.fromkeys([*stacks, *wanted]))
        write_record(record_path(arguments.name), {"emulator": emulator.to_json(), "stacks": stacks})
    except BaseException:
        if fresh:
            emulator.stop()
            record_path(arguments.name).unlink(missing_ok=True)
        raise
    say(f"ready after {time.monotonic() - started:.0f} s")
    for name in stacks:
        show(emulator.stack(name), arguments.show_key)
    show_environment(emulator)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Stop the emulator of this name; nothing else is touched."""
    record = read_record(arguments.name)
    if record is None:
        say(f"nothing runs under the name {arguments.name}")
        return 0
    attach(record).stop()
    record_path(arguments.name).unlink(missing_ok=True)
    say(f"{arguments.name} is stopped, and its temporary state is gone")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show every stack of this name."""
    emulator, stacks = running(arguments.name)
    emulator.check()
    for name in stacks:
        show(emulator.stack(name), arguments.show_key)
    show_environment(emulator)
    return 0


def key(arguments: argparse.Namespace) -> int:
    """Print the API key of one stack and nothing else, for use in other commands."""
    emulator, stacks = running(arguments.name)
    emulator.check()
    if (stack := f"{arguments.name}-{arguments.variant}") not in stacks:
        raise StackError(f"{stack} does not run; what does: {', '.join(stacks) or 'nothing'}")
    print(emulator.stack(stack).api_key())
    return 0


def courier(arguments: argparse.Namespace) -> int:
    """Switch the mode of each stack's courier simulator, through its table.

    Raises:
        StackError: There is no such mode, or nothing runs.
    """
    if arguments.mode not in MODES:
        described = "\n".join(f"  {name:<12} {text}" for name, text in MODES.items())
        raise StackError(f"Say which: make courier MODE=<one of these>\n{described}")
    emulator, stacks = running(arguments.name)
    emulator.check()
    item = {"pk": {"S": "control"}, "mode": {"S": arguments.mode}, "retry_after": {"N": "1"}}
    for stack in map(emulator.stack, stacks):
        stack.client("dynamodb").put_item(TableName=stack.outputs["CourierTableName"], Item=item)
        say(f"the courier of {stack.name} {MODES[arguments.mode]}")
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Print the functions' log lines in the order of their times, and the emulator's log."""
    emulator, stacks = running(arguments.name)
    if emulator.log.exists():
        console.print(escape(emulator.log_tail(20)), style="dim")
    emulator.check()
    since = int((time.time() - arguments.minutes * 60) * 1000)
    seen: set[tuple[object, ...]] = set()
    while True:
        events = [event for name in stacks for event in log_events(emulator.stack(name), since)]
        for event in sorted(events, key=lambda event: int(event["timestamp"])):
            identity = (event["logStreamName"], event["timestamp"], event["message"])
            if identity not in seen:
                seen.add(identity)
                print_event(event)
        if not arguments.follow:
            return 0
        time.sleep(1)
        emulator.check()
        since = max([since, *(int(event["timestamp"]) - 5000 for event in events)])


def log_events(stack: Stack, since: int) -> Iterator[dict[str, Any]]:
    """Log events of every log group of a stack, from `since` (milliseconds) on."""
    paginator = stack.client("logs").get_paginator("filter_log_events")
    for logical_id, (kind, group) in stack.resources.items():
        if kind != "AWS::Logs::LogGroup":
            continue
        for page in paginator.paginate(logGroupName=group, startTime=since):
            for event in page["events"]:
                yield event | {"source": f"{stack.name} {logical_id.removesuffix('LogGroup')}"}


def print_event(event: dict[str, Any]) -> None:
    """Print one log event with its time and where it comes from."""
    milliseconds = int(event["timestamp"])
    clock = time.strftime("%H:%M:%S", time.localtime(milliseconds / 1000))
    line = escape(str(event["message"]).rstrip().replace("\r", "\n"))
    console.print(
        f"[dim]{clock}.{milliseconds % 1000:03d}[/dim] [cyan]{event['source']}[/cyan] {line}",
        soft_wrap=True,
    )


def show(stack: Stack, show_key: bool) -> None:
    """Print what one needs to use a stack."""
    key = stack.api_key()
    facts = {name: stack.outputs[name] for name in SHOWN_OUTPUTS if name in stack.outputs}
    facts["API key"] = key if show_key else f"{key[:4]}… (--show-key prints it)"
    if stack.inert_types:
        facts["without effect here"] = ", ".join(stack.inert_types)
    console.print(f"\n[bold]{stack.name}[/bold]")
    for name, value in facts.items():
        plain(f"  {name:<20} {value}")
    name, variant = next((stack.name.removesuffix(f"-{v}"), v) for v in LONGEST_FIRST if stack.name.endswith(f"-{v}"))
    shown = key if show_key else f"$({executable()} -m local key --name {name} --variant {variant})"
    plain(
        f"  curl -i {stack.outputs['OrdersUrl']} -H 'content-type: application/json' "
        f"-H \"x-api-key: {shown}\" -d '{json.dumps(EXAMPLE_ORDER)}'"
    )


def plain(text: str) -> None:
    """Print a line as it is, so that it can be copied."""
    console.print(text, soft_wrap=True, markup=False)


def executable() -> str:
    """How to call this interpreter from the project's folder."""
    path = Path(sys.executable)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def show_environment(emulator: RunningEmulator) -> None:
    """Print the variables that aim AWS tools at the emulator."""
    console.print()
    variables = {"AWS_ENDPOINT_URL": emulator.endpoint, "AWS_DEFAULT_REGION": REGION}
    for name, value in (variables | CREDENTIALS).items():
        plain(f"export {name}={value}")


def record_path(name: str) -> Path:
    """Where it is written down what runs under a name."""
    return RECORDS / f"{name}.json"


def read_record(name: str) -> dict[str, Any] | None:
    """What was started under a name, or None."""
    path = record_path(name)
    return json.loads(path.read_text()) if path.exists() else None


def running(name: str) -> tuple[RunningEmulator, list[str]]:
    """The emulator that was started under a name, and its stacks.

    Raises:
        StackError: There is none.
    """
    record = read_record(name)
    if record is None:
        raise StackError(f"nothing runs under the name {name}; `make up` starts it")
    return attach(record), list(record["stacks"])


def attach(record: dict[str, Any]) -> RunningEmulator:
    """The emulator of a record."""
    return RunningEmulator.from_json(record["emulator"], progress=say)


def say(message: str) -> None:
    """Print a line of progress."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(message)}")


if __name__ == "__main__":
    sys.exit(main())
