"""What the functions and the Lambda platform write to CloudWatch Logs, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loadtest.executions import CourierCall, Invocation
from loadtest.target import DeployedStack, function_configuration

SLICE_S = 30
"""Seconds of log that one query covers, so that its answer stays below 10,000 lines."""

REPORT = re.compile(
    r"^REPORT RequestId: (?P<request_id>[0-9a-f-]+)\s+"
    r"Duration: (?P<duration>[\d.]+) ms\s+Billed Duration: (?P<billed>[\d.]+) ms"
)
INIT = re.compile(r"Init Duration: (?P<init>[\d.]+) ms")
REPORTED_FAILURE = re.compile(r"Status: (timeout|error)")


@dataclass(frozen=True)
class LogEvent:
    """A line of a log, and its time in epoch seconds."""

    timestamp: float
    message: str


def log_group(stack: DeployedStack, function_output: str) -> str:
    """The log group that the function writes to."""
    configuration = function_configuration(stack, function_output)
    group = configuration.get("LoggingConfig", {}).get("LogGroup")
    return str(group or f"/aws/lambda/{configuration['FunctionName']}")


def read(
    stack: DeployedStack, group: str, phrase: str, begin: float, end: float
) -> Iterator[LogEvent]:
    """Lines of a log group that contain a phrase, from one epoch second to another.

    A group that nothing was written to yet has no lines.
    """
    logs = stack.client("logs")
    pages = logs.get_paginator("filter_log_events")
    start_ms, end_ms = int(begin * 1000), int(end * 1000)
    try:
        for slice_ms in range(start_ms, end_ms, SLICE_S * 1000):
            for page in pages.paginate(
                logGroupName=group,
                filterPattern=f'"{phrase}"',
                startTime=slice_ms,
                endTime=min(slice_ms + SLICE_S * 1000, end_ms) - 1,
            ):
                for event in page["events"]:
                    if phrase in event["message"]:
                        yield LogEvent(event["timestamp"] / 1000, event["message"])
    except logs.exceptions.ResourceNotFoundException:
        return


def parse_invocations(reports: Iterable[LogEvent], failed: set[str]) -> list[Invocation]:
    """Invocations from the platform's REPORT lines, which are written when an invocation ends.

    Args:
        reports: Lines that contain REPORT.
        failed: Request ids that failed in a way that the report does not tell: an exception of the
            handler, unlike a timeout or a crash.
    """
    found: dict[str, Invocation] = {}
    for event in reports:
        report = REPORT.match(event.message)
        if not report:
            continue
        init = INIT.search(event.message)
        busy_ms = float(report["duration"]) + (float(init["init"]) if init else 0.0)
        request_id = report["request_id"]
        found[request_id] = Invocation(
            request_id=request_id,
            begin=event.timestamp - busy_ms / 1000,
            end=event.timestamp,
            billed_s=float(report["billed"]) / 1000,
            failed=request_id in failed or bool(REPORTED_FAILURE.search(event.message)),
        )
    return sorted(found.values(), key=lambda invocation: invocation.end)


def parse_failures(diagnostics: Iterable[LogEvent]) -> set[str]:
    """Request ids of invocations that raised, from the hub's handler wrapper.

    Args:
        diagnostics: Lines that contain the word diagnostics.
    """
    return {
        str(line["function_request_id"])
        for line in map(_structured, diagnostics)
        if line.get("status") == "FAILED" and "diagnostics" in line
    }


def parse_calls(lines: Iterable[LogEvent]) -> list[CourierCall]:
    """Calls to the courier from the delivery function's log."""
    return [
        CourierCall(
            at=_moment(line, event.timestamp),
            correlation_id=str(line["correlation_id"]),
            request_id=str(line["function_request_id"]),
            outcome=str(line["outcome"]),
        )
        for event in lines
        if (line := _structured(event)).get("message") == "courier call"
    ]


def _structured(event: LogEvent) -> dict[str, Any]:
    """A line of the functions' logger; {} for anything else, such as a line of the platform."""
    try:
        line = json.loads(event.message)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _moment(line: dict[str, Any], otherwise: float) -> float:
    try:
        return datetime.fromisoformat(str(line["timestamp"])).timestamp()
    except (KeyError, ValueError):
        return otherwise
