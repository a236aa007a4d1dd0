"""Invoke one built function on this machine, without Docker and without an AWS account.

    python -m tests.runtime invoke notification
    python -m tests.runtime invoke delivery --event events/delivery-direct.json \\
        --parameter FlowControl=disabled
    python -m tests.runtime invoke sales --endpoint http://127.0.0.1:4566 --stack event-hub

The function runs in a fresh process, through the Lambda runtime interface client, from the
artefact of `sam build`. By default it finds its queues, tables, bus and secret, made from the
template, in an AWS simulator in this process, and a courier that accepts everything; afterwards
the events, items and calls that it left there are shown. With --endpoint and --stack it works on
the resources of a deployed stack instead, with the environment of its deployed counterpart.
"""

# ruff: noqa: T201 (what it prints is what it is for)

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local.stack import ROOT, Stack, StackError, build

from .artefact import BuiltFunction, read_functions
from .execution_environment import ExecutionEnvironment, Invocation
from .surroundings import Surroundings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0 when the function succeeded, 1 when it failed, 2 when it did not run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.stack and not options.endpoint:
        parser.error("--stack needs the --endpoint at which the stack is deployed")
    try:
        event = _event(options)
        build(progress=lambda line: print(line, file=sys.stderr))
        with ExitStack() as stack:
            surroundings = None if options.endpoint else stack.enter_context(Surroundings())
            function = _function(options, surroundings)
            result = stack.enter_context(ExecutionEnvironment(function)).invoke(event)
            _show(function, result, surroundings)
    except (StackError, LookupError, OSError, ValueError) as error:
        print(f"not invoked: {error}", file=sys.stderr)
        return 2
    return 1 if result.function_error else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    invoke = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "invoke", help="invoke one function once"
    )
    names = sorted(file.parent.name for file in (ROOT / "functions").glob("*/app.py"))
    invoke.add_argument("function", choices=names, help="a folder of functions/")
    invoke.add_argument("--event", type=Path, help="JSON file (default: events/FUNCTION.json)")
    invoke.add_argument(
        "--env",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="an environment variable of the function; may be repeated",
    )
    invoke.add_argument(
        "--parameter",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="a parameter of template.yaml; may be repeated",
    )
    invoke.add_argument("--endpoint", metavar="URL", help="AWS services to use instead of the simulator")
    invoke.add_argument("--stack", metavar="NAME", help="a stack at --endpoint, to work on its resources")
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _event(options: argparse.Namespace) -> Any:
    file: Path = options.event or ROOT / "events" / f"{options.function}.json"
    if not file.is_file():
        raise LookupError(f"there is no event {file}: name one with --event FILE")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def _function(options: argparse.Namespace, surroundings: Surroundings | None) -> BuiltFunction:
    """The built function with the environment that leads it to its surroundings or to a stack."""
    functions = read_functions(
        parameters=dict(options.parameter),
        physical_ids=surroundings.physical_ids if surroundings else {},
    ).values()
    function = {function.source_name: function for function in functions}[options.function]
    if surroundings:
        variables = surroundings.variables
    else:
        variables = {"AWS_ENDPOINT_URL": options.endpoint}
        if options.stack:
            variables |= _deployed_variables(Stack(options.stack, options.endpoint), function)
    return function.with_variables({**variables, **dict(options.env)})


def _deployed_variables(stack: Stack, function: BuiltFunction) -> dict[str, str]:
    configuration = stack.client("lambda").get_function_configuration(FunctionName=stack.physical_id(function.name))
    return dict(configuration.get("Environment", {}).get("Variables", {}))


def _show(function: BuiltFunction, result: Invocation, surroundings: Surroundings | None) -> None:
    _section("Log", result.log.rstrip())
    _section("Failed with" if result.function_error else "Response", _json(result.payload, indent=2))
    if surroundings:
        _section("What it did", "\n".join(_effects(surroundings)) or "nothing that can be seen")
    init = f"{result.init_duration * 1000:.0f} ms init" if result.init_duration else "warm"
    print(f"\n{function.name}: {result.duration * 1000:.0f} ms, {init}")


def _effects(surroundings: Surroundings) -> Iterator[str]:
    """One line for each thing the function left behind."""
    for event in surroundings.published():
        yield f"published {event['detail-type']}: {_json(event['detail'])}"
    for request in surroundings.courier.requests:
        yield f"called the courier: {_json(request)}"
    for table in surroundings.logical_ids("AWS::DynamoDB::Table"):
        for item in surroundings.items(table):
            yield f"wrote to {table}: {_json(item)}"
    for bucket in surroundings.logical_ids("AWS::S3::Bucket"):
        for key, text in surroundings.objects(bucket).items():
            yield f"wrote to {bucket}: {key}: {text.rstrip()}"
    for queue in surroundings.logical_ids("AWS::SQS::Queue"):
        for message in surroundings.messages(queue):
            yield f"sent to {queue}: {message['Body']}"


def _section(title: str, text: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}\n{text}")


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, default=str)


if __name__ == "__main__":
    sys.exit(main())
