"""What Lambda writes to CloudWatch Logs about invocations."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any


def log_group(config: dict[str, Any]) -> str:
    """The log group of a function: its own setting, or the default name."""
    own = (config.get("LoggingConfig") or {}).get("LogGroup")
    return str(own or f"/aws/lambda/{config['FunctionName']}")


class LogWriter:
    """Writes the log stream of one environment, each line with the time it was written at."""

    def __init__(self, config: dict[str, Any]) -> None:
        from ministack.services import cloudwatch_logs

        self.group = log_group(config)
        version = config.get("Version", "$LATEST")
        day = time.strftime("%Y/%m/%d", time.gmtime())
        self.stream = f"{day}/[{version}]{os.urandom(16).hex()}"
        self.lines: list[str] = []
        self.fresh: list[dict[str, Any]] = []
        self.service = cloudwatch_logs
        # Both answer with an error when the log group exists, or cannot be made: logging never
        # fails an invocation.
        cloudwatch_logs._create_log_group({"logGroupName": self.group})
        cloudwatch_logs._create_log_stream({"logGroupName": self.group, "logStreamName": self.stream})

    def write(self, milliseconds: int, line: str) -> None:
        """Store one line at its time (milliseconds since the epoch)."""
        self.lines.append(line)
        event = {"timestamp": milliseconds, "message": line, "ingestionTime": now_milliseconds()}
        self.fresh.append(event)
        group = self.service._log_groups.get(self.group)
        stream = group and group["streams"].get(self.stream)
        if stream:
            self.service._append_log_events(stream, [event])

    def take(self) -> list[str]:
        """The lines since the last call, after handing them to subscription filters."""
        events, self.fresh = self.fresh, []
        self.service._fanout_to_subscription_filters(self.group, self.stream, events)
        lines, self.lines = self.lines, []
        return lines


@dataclass
class Outcome:
    """What became of one invocation: ok, error (of the handler), exit or timeout."""

    status: str
    body: Any = None
    memory: int = 0


@dataclass(frozen=True)
class Report:
    """The platform's log lines of one invocation.

    Source: "Log Lambda function calls", Lambda developer guide; since August 2025 the time of the
    initialisation is billed for managed runtimes too ("AWS Lambda standardizes billing for INIT
    Phase", AWS Compute Blog).
    """

    config: dict[str, Any]
    request_id: str
    init_milliseconds: float | None
    trace_id: str | None

    def start(self) -> str:
        """Say that an invocation begins."""
        version = self.config.get("Version", "$LATEST")
        return f"START RequestId: {self.request_id} Version: {version}"

    def end(self) -> str:
        """Say that it has ended."""
        return f"END RequestId: {self.request_id}"

    def report(self, duration: float, outcome: Outcome) -> str:
        """Tell what it took; `duration` in milliseconds."""
        billed = -(-(duration + (self.init_milliseconds or 0.0)) // 1)
        parts = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {duration:.2f} ms",
            f"Billed Duration: {billed:.0f} ms",
            f"Memory Size: {self.config.get('MemorySize', 128)} MB",
            f"Max Memory Used: {outcome.memory} MB",
        ]
        if self.init_milliseconds is not None:
            parts.append(f"Init Duration: {self.init_milliseconds:.2f} ms")
        if outcome.status == "timeout":
            parts.append("Status: timeout")
        elif outcome.status == "exit":
            parts += ["Status: error", f"Error Type: {outcome.body['errorType']}"]
        if self.trace_id:
            root = self.trace_id.split(";")[0].removeprefix("Root=")
            parts.append(f"\nXRAY TraceId: {root}")
        return "\t".join(parts)


def now_milliseconds() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
