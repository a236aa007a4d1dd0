"""What the functions and the Lambda platform write to CloudWatch Logs, as data."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loadtest.executions import CourierCall, Invocation, RecordStatus
from loadtest.target import DeployedStack, function_configuration

SLICE_S = 30
"""Seconds of log that one query covers, so that its answer stays below 10,000 lines."""

REPORTS = "REPORT RequestId"
DIAGNOSTICS = "diagnostics"
RECORDS = "order.notified"
"""Phrases to read by: of the platform's reports, of exceptions, of everything about an order."""

LATE_S = 60.0
"""Seconds after which a line that was written is sure to be found."""

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


class FunctionLog:
    """The log of a function, read from a moment on, again and again, without reading it all again.

    Args:
        stack: The stack that the function belongs to.
        output: The stack's output with the function's name.
        begin: Epoch second to read from.
    """

    def __init__(self, stack: DeployedStack, output: str, begin: float) -> None:
        configuration = function_configuration(stack, output)
        group = configuration.get("LoggingConfig", {}).get("LogGroup")
        self._group = str(group or f"/aws/lambda/{configuration['FunctionName']}")
        self._logs = stack.client("logs")
        self._begin = begin
        self._read_until: dict[str, float] = {}
        self._events: dict[str, dict[LogEvent, None]] = {}

    def read(self, phrase: str) -> list[LogEvent]:
        """Every line so far that contains a phrase.

        Lines may appear late, so the last minute is read anew. A log group that nothing was written
        to yet has no lines.
        """
        now = time.time()
        begin = max(self._begin, self._read_until.get(phrase, self._begin) - LATE_S)
        events = self._events.setdefault(phrase, {})
        events.update(dict.fromkeys(self._query(phrase, begin, now)))
        self._read_until[phrase] = now
        return list(events)

    def _query(self, phrase: str, begin: float, end: float) -> Iterator[LogEvent]:
        pages = self._logs.get_paginator("filter_log_events")
        edges = [*range(int(begin * 1000), int(end * 1000), SLICE_S * 1000), int(end * 1000) + 1]
        try:
            for start_ms, end_ms in itertools.pairwise(edges):
                for page in pages.paginate(
                    logGroupName=self._group,
                    filterPattern=f'"{phrase}"',
                    startTime=start_ms,
                    endTime=end_ms - 1,
                ):
                    for event in page["events"]:
                        if phrase in event["message"]:
                            yield LogEvent(event["timestamp"] / 1000, event["message"])
        except self._logs.exceptions.ResourceNotFoundException:
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
    """Read calls to the courier from the delivery function's log."""
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


def parse_statuses(lines: Iterable[LogEvent]) -> list[RecordStatus]:
    """Read the orders that the delivery function began and ended to work on from its log."""
    return [
        RecordStatus(
            correlation_id=str(line["correlation_id"]),
            request_id=str(line["function_request_id"]),
            status=str(line["status"]),
        )
        for line in map(_structured, lines)
        if "status" in line and "record" in line
    ]


def _structured(event: LogEvent) -> dict[str, Any]:
    """Parse a line of the functions' logger; {} for anything else, such as a line of the platform."""
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
