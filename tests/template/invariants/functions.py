"""What every function has: a log group, traces, a timeout, a role and settings of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.template.invariants.invariant import invariant, of
from tests.template.translated import ROOT, Stack, logical_id, references


@invariant(of("AWS::Lambda::Function"))
def function_has_log_group(stack: Stack, function: str) -> Iterator[str]:
    """The log group that Lambda makes by itself is kept for ever, and stays behind when the stack goes.

    LoggingConfig.LogGroup names one of the stack (Lambda developer guide, "Configuring CloudWatch log groups").
    """
    group = logical_id(stack.properties(function).get("LoggingConfig", {}).get("LogGroup"))
    if stack.type_of(group) != "AWS::Logs::LogGroup":
        yield "has no LoggingConfig.LogGroup with a log group of this stack"


@invariant(of("AWS::Lambda::Function"))
def function_is_in_the_story(stack: Stack, function: str) -> Iterator[str]:
    """The saved query StoryQuery shows all that became of an order, so it must read what every function logs.

    A saved query reads the log groups that it names, and no others (CloudWatch Logs user guide, "Save queries").
    """
    group = logical_id(stack.properties(function).get("LoggingConfig", {}).get("LogGroup"))
    if group and group not in map(logical_id, stack.properties("StoryQuery")["LogGroupNames"]):
        yield f"logs to {group}, which StoryQuery does not name in LogGroupNames"


def _with_story_link(stack: Stack) -> list[str]:
    return [name for name in of("AWS::Lambda::Function")(stack) if "STORY_QUERY" in _variables(stack, name)]


@invariant(_with_story_link)
def story_link_is_the_saved_query(stack: Stack, function: str) -> Iterator[str]:
    """Whoever follows the link of a dead letter must see what the saved query shows: one story, not two."""
    variables, saved = _variables(stack, function), stack.properties("StoryQuery")
    if variables["STORY_QUERY"] != saved["QueryString"]:
        yield "has another STORY_QUERY than the QueryString of StoryQuery"
    linked = [logical_id(group) for group in variables["LOG_GROUP_NAMES"]["Fn::Join"][1]]
    if linked != [logical_id(group) for group in saved["LogGroupNames"]]:
        yield f"searches {linked}, and StoryQuery other log groups"


@invariant(lambda stack: [name for name in of("AWS::Lambda::Function")(stack) if _logs_records(stack, name)])
def records_are_counted(stack: Stack, function: str) -> Iterator[str]:
    """A function that logs START and COMPLETED of its records is one that can leave a record unfinished, or fail at it.

    The saved queries that look for these lines read the log groups that they name, and no others.
    """
    group = logical_id(stack.properties(function)["LoggingConfig"]["LogGroup"])
    for query in ("UnfinishedQuery", "SuccessRateQuery"):
        if group not in map(logical_id, stack.properties(query)["LogGroupNames"]):
            yield f"logs its records (hub.instrument.record_status) to {group}, which {query} does not name"


def _logs_records(stack: Stack, function: str) -> bool:
    folder = ROOT / stack.source.document["Resources"][function]["Properties"]["CodeUri"]
    return any("record_status(" in module.read_text() for module in folder.glob("*.py"))


def _variables(stack: Stack, function: str) -> dict[str, Any]:
    variables: dict[str, Any] = stack.properties(function).get("Environment", {}).get("Variables", {})
    return variables


@invariant(of("AWS::Logs::LogGroup"))
def log_group_has_retention(stack: Stack, group: str) -> Iterator[str]:
    """Without one, logs are kept for ever, at a price (CloudWatch Logs user guide, "Change log data retention")."""
    if "RetentionInDays" not in stack.properties(group):
        yield "has no RetentionInDays"


@invariant(of("AWS::Lambda::Function"))
def function_is_traced(stack: Stack, function: str) -> Iterator[str]:
    """A trace that ends at a function cannot tell a slow courier from a slow hub (Lambda, "Visualize with X-Ray")."""
    if stack.properties(function).get("TracingConfig", {}).get("Mode") != "Active":
        yield "does not say Tracing: Active"


@invariant(of("AWS::Lambda::Function"))
def function_has_timeout(stack: Stack, function: str) -> Iterator[str]:
    """Lambda's default of 3 seconds is shorter than one slow call to the courier; 900 s is the most (Lambda quotas)."""
    timeout = stack.properties(function).get("Timeout")
    if timeout is None or not 1 <= timeout <= 900:
        yield f"has the timeout {timeout}, and needs one of 1 to 900 s in the template"


@invariant(of("AWS::Lambda::Function", "AWS::StepFunctions::StateMachine"))
def function_has_role_of_its_own(stack: Stack, function: str) -> Iterator[str]:
    """A shared role gives each the permissions of all (Lambda developer guide, "Applying least privilege")."""
    role = _role(stack, function)
    if stack.type_of(role) != "AWS::IAM::Role":
        yield "has no role of this stack"
    others = [name for name in stack.resources if name != function and role and _role(stack, name) == role]
    if others:
        yield f"shares {role} with {' and '.join(others)}"


def _role(stack: Stack, name: str) -> str | None:
    properties = stack.properties(name)
    return logical_id(properties.get("Role") or properties.get("RoleArn"))


@invariant(of("AWS::StepFunctions::StateMachine"))
def state_machine_is_observed(stack: Stack, machine: str) -> Iterator[str]:
    """A machine that decides over a mapping must leave a record of why (Step Functions, "Logging and monitoring")."""
    properties = stack.properties(machine)
    if properties.get("TracingConfiguration", {}).get("Enabled") is not True:
        yield "does not say Tracing: { Enabled: true }"
    logging = properties.get("LoggingConfiguration", {})
    if logging.get("Level", "OFF") == "OFF" or not logging.get("Destinations"):
        yield "has no Logging with a level and a log group"


@invariant(of("AWS::Lambda::Function"))
def environment_is_settings(stack: Stack, function: str) -> Iterator[str]:
    """A variable that no field reads is dead; a field that no variable fills stops the function at its start.

    The dataclass Settings in functions/<name>/app.py is read by hub.settings.load, which counts an empty value as
    missing. Variables of Powertools (POWERTOOLS_*) are read by Powertools.
    """
    given = {name: value for name, value in _variables(stack, function).items() if not name.startswith("POWERTOOLS_")}
    folder = stack.source.document["Resources"][function]["Properties"]["CodeUri"]
    fields = settings_fields(ROOT / folder / "app.py")
    for name in sorted(given.keys() - fields.keys()):
        yield f"is given {name}, which {folder}/app.py's Settings does not read"
    for name in sorted(fields.keys() - given.keys()):
        yield f"is not given {name}, which {folder}/app.py's Settings reads"
    for name in sorted(name for name in given.keys() & fields.keys() if fields[name] and given[name] == ""):
        yield f"is given {name} empty, which {folder}/app.py's Settings requires"


@cache
def settings_fields(module: Path) -> dict[str, bool]:
    """Return the environment variables that a module's Settings reads, each with whether it is required.

    The module is parsed, not imported: to import a handler is to start the function.
    """
    classes = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.ClassDef)]
    [settings] = [node for node in classes if node.name == "Settings"]
    return {
        node.target.id.upper(): node.value is None
        for node in settings.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


@invariant(of("AWS::Lambda::Function"))
def metrics_are_of_one_stack(stack: Stack, function: str) -> Iterator[str]:
    """A metric is its namespace, name and dimensions: the same ones of two stacks in an account are one metric.

    Then one stack's failures open the other's circuit, and the zeros of a closed circuit hide that another one is open
    (CloudWatch user guide, "Metrics concepts").
    """
    namespace = stack.properties(function)["Environment"]["Variables"].get("POWERTOOLS_METRICS_NAMESPACE")
    if "AWS::StackName" not in references(namespace):
        yield f"counts in the namespace {namespace}, which other stacks use as well: it needs AWS::StackName"
