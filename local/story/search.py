"""Finding the log lines of one order, in every log group of a stack.

Lines are found by phrase, not by a JSON pattern: the id stands in different fields (an access log, a function's line,
the event in the diagnostics of an invocation that died), and the phrase is in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FIRST_LOOK_S = 15 * 60.0
"""How far the first look goes back; each further one goes four times as far."""

PLATFORM_FAILURES = ("Status: timeout", "Status: error", "Task timed out")
"""How Lambda's own lines say that an invocation died ("Lambda function logs", Lambda developer guide)."""


@dataclass(frozen=True)
class Line:
    """A line of a log.

    Attributes:
        at: Epoch seconds.
        group: Logical id of its log group.
        text: The line as it was written.
        fields: What it holds, if it is a JSON object.
    """

    at: float
    group: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def get(self, name: str) -> Any:
        """Return a field's value; None if the line does not have it."""
        return self.fields.get(name)

    @property
    def correlation_id(self) -> str | None:
        """The order that the line is about, if it names one."""
        value = self.get("correlation_id")
        return None if value in (None, "unknown") else str(value)


@dataclass(frozen=True)
class Found:
    """The lines of one order, and of the circuit breaker meanwhile.

    Attributes:
        order: Lines about each sending of the order, by correlation id.
        circuit: Changes of the circuit's state since the order was received.
    """

    order: Mapping[str, list[Line]]
    circuit: list[Line]


class LogGroups:
    """The log groups of a stack.

    Args:
        names: Name of each group, by logical id.
        client: A boto3 client of CloudWatch Logs.
    """

    def __init__(self, names: Mapping[str, str], client: Any) -> None:
        self._names = names
        self._client = client

    def __len__(self) -> int:
        return len(self._names)

    def find(self, phrase: str, begin: float, end: float, *groups: str) -> set[Line]:
        """Return the lines that contain a phrase.

        Args:
            phrase: What to look for; it must hold no quotation mark.
            begin: Epoch second to look from.
            end: Epoch second to look to.
            groups: Logical ids of the groups to look into; all of them if none is given.
        """
        wanted = [group for group in groups or self._names if group in self._names]
        if not wanted:
            return set()
        with ThreadPoolExecutor(len(wanted)) as pool:
            found = pool.map(lambda group: list(self._read(group, phrase, begin, end)), wanted)
            return {line for lines in found for line in lines if phrase in line.text}

    def _read(self, group: str, phrase: str, begin: float, end: float) -> Iterator[Line]:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._names[group],
            filterPattern=f'"{phrase}"',
            startTime=max(0, int(begin * 1000)),
            endTime=int(end * 1000) + 1,
        )
        for page in pages:
            for event in page["events"]:
                yield read_line(group, event["timestamp"] / 1000, event["message"])


def read_line(group: str, written_at: float, text: str) -> Line:
    """Read a line; its own time counts, if it has one."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return Line(written_at, group, text.strip())
    try:
        at = datetime.fromisoformat(str(fields["timestamp"])).timestamp()
    except (KeyError, ValueError):
        at = written_at
    return Line(at, group, text, fields)


def windows(now: float, since: float) -> Iterator[tuple[float, float]]:
    """Cut the time to look back over into windows, newest first: most people ask about the last minutes."""
    end, reach = now, FIRST_LOOK_S
    while end > now - since:
        begin = now - min(reach, since)
        yield begin, end
        end, reach = begin, reach * 4


def search(groups: LogGroups, identifier: str, *, now: float, since: float) -> Found:
    """Find the lines about an order, from the newest back, until its beginning is found.

    Args:
        groups: Where to look.
        identifier: The order's correlation id or order id.
        now: Epoch seconds.
        since: Seconds to look back at most.
    """
    by_id: dict[str, set[Line]] = {}
    for begin, end in windows(now, since):
        for line in _about(groups.find(identifier, begin, end), identifier):
            by_id.setdefault(str(line.correlation_id), set())
        for correlation_id, lines in by_id.items():
            # An id that is found in this window may stand in newer ones without the order id.
            to = end if lines else now
            lines |= groups.find(correlation_id, begin, to)
        if by_id and all(any(is_beginning(line) for line in lines) for lines in by_id.values()):
            break
    for correlation_id, lines in by_id.items():
        lines -= {line for line in lines if line.correlation_id not in (None, correlation_id)}
        lines |= _deaths(groups, lines, now)
    order = {correlation_id: in_order(lines) for correlation_id, lines in by_id.items()}
    received = [lines[0].at for lines in order.values() if lines]
    return Found(order, _circuit(groups, min(received), now) if received else [])


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Sort lines by time; of one moment, as a function writes them."""
    ranks = {"START": 0, None: 1, "COMPLETED": 2, "FAILED": 2}
    return sorted(lines, key=lambda line: (line.at, ranks.get(line.get("status"), 3)))


def is_beginning(line: Line) -> bool:
    """Tell whether nothing about the order can be older: the API has answered, or its event was made."""
    return line.get("service") in ("api", "notification")


def _about(lines: Iterable[Line], identifier: str) -> list[Line]:
    """Keep lines of exactly this order: a phrase also finds order ids that are longer."""
    return [line for line in lines if line.correlation_id and identifier in (line.correlation_id, line.get("order_id"))]


def _deaths(groups: LogGroups, lines: Iterable[Line], now: float) -> set[Line]:
    """Find what the platform says of invocations that began with the order and did not end with it."""
    started: dict[tuple[str, str], float] = {}
    for line in in_order(lines):
        key = (line.group, str(line.get("function_request_id")))
        if line.get("status") == "START":
            started[key] = line.at
        elif line.get("status") in ("COMPLETED", "FAILED"):
            started.pop(key, None)
    return {
        line
        for (group, request_id), at in started.items()
        for line in groups.find(request_id, at, now, group)
        if not line.fields and any(words in line.text for words in PLATFORM_FAILURES)
    }


def _circuit(groups: LogGroups, begin: float, now: float) -> list[Line]:
    found = groups.find("CIRCUIT", begin, now, "CircuitLogGroup")
    return in_order(line for line in found if line.get("message") == "CIRCUIT")
