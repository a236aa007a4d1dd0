"""Finding an order's lines: from the newest back, no further than its beginning, and nothing of other orders."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.story.search import FIRST_LOOK_S, LogGroups, search, windows
from tests.unit.story.recorded_lines import recording

DAY = 86400.0
NAMES = {
    f"{name}LogGroup": f"stack-{name}"
    for name in ("OrdersApi", "Notification", "Delivery", "Sales", "SlowApi", "Circuit")
}


@dataclass
class Logs:
    """CloudWatch Logs, with FilterLogEvents in pages of two events."""

    events: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    looks: list[tuple[float, float]] = field(default_factory=list)

    def write(self, group: str, at: float, text: str) -> None:
        self.events.setdefault(NAMES[group], []).append((at, text))

    def get_paginator(self, _operation: str) -> Logs:
        return self

    def paginate(self, *, logGroupName: str, filterPattern: str, startTime: int, endTime: int) -> Iterator[Any]:  # noqa: N803
        self.looks.append((startTime / 1000, endTime / 1000))
        phrase = filterPattern.strip('"')
        found = [
            {"timestamp": round(at * 1000), "message": text}
            for at, text in sorted(self.events.get(logGroupName, []))
            if startTime <= round(at * 1000) <= endTime and phrase in text
        ]
        for start in range(0, len(found) + 1, 2):
            yield {"events": found[start : start + 2]}


def recorded(name: str) -> Logs:
    lines = recording(name)
    logs = Logs()
    for line in [*lines.order, *lines.circuit]:
        logs.write(line.group, line.at, line.text)
    return logs


def test_correlation_id_and_order_id_find_the_same_lines() -> None:
    logs, lines = recorded("retried"), recording("retried")
    now = lines.order[-1].at + 5
    by_correlation_id = search(LogGroups(NAMES, logs), lines.correlation_id, now=now, since=DAY)
    by_order_id = search(LogGroups(NAMES, logs), "ord-2", now=now, since=DAY)
    assert by_correlation_id == by_order_id
    assert set(by_order_id.order[lines.correlation_id]) == set(lines.order)
    assert any(line.get("service") == "api" for line in by_order_id.order[lines.correlation_id]), "no order id there"


def test_the_circuit_is_looked_at_since_the_receipt() -> None:
    logs, lines = recorded("probed"), recording("probed")
    logs.write("CircuitLogGroup", lines.order[0].at - 60, json.dumps({"message": "CIRCUIT", "state": "closed"}))
    logs.write("CircuitLogGroup", lines.order[0].at + 6, json.dumps({"message": "CIRCUIT REPAIRED"}))
    found = search(LogGroups(NAMES, logs), "ord-6", now=lines.order[-1].at + 60, since=DAY)
    assert found.circuit == lines.circuit


def test_nothing_is_found_of_an_order_id_that_only_begins_the_same() -> None:
    lines = recording("retried")
    found = search(LogGroups(NAMES, recorded("retried")), "ord", now=lines.order[-1].at, since=DAY)
    assert found.order == {}


def test_a_recent_order_is_found_without_looking_far_back() -> None:
    logs, lines = recorded("retried"), recording("retried")
    now = lines.order[-1].at + 5
    search(LogGroups(NAMES, logs), lines.correlation_id, now=now, since=30 * DAY)
    assert min(begin for begin, _ in logs.looks) >= now - FIRST_LOOK_S - 0.001


def test_an_order_of_long_ago_is_found_whole_and_no_further_back_than_allowed() -> None:
    lines = recording("retried")
    now = lines.order[-1].at + 5 * 3600
    whole = search(LogGroups(NAMES, recorded("retried")), "ord-2", now=now, since=DAY)
    assert set(whole.order[lines.correlation_id]) == set(lines.order)
    logs = recorded("retried")
    assert search(LogGroups(NAMES, logs), "ord-2", now=now, since=3600).order == {}
    assert min(begin for begin, _ in logs.looks) >= now - 3600 - 0.001


def test_a_story_that_spans_windows_is_found_whole() -> None:
    """Its last lines are of the last minute and its first ones an hour older."""
    lines = recording("retried")
    logs = Logs()
    for line in lines.order:
        text = json.dumps({key: value for key, value in line.fields.items() if key != "timestamp"})
        logs.write(line.group, line.at - (4000 if line.at < lines.order[0].at + 5 else 0), text)
    found = search(LogGroups(NAMES, logs), "ord-2", now=lines.order[-1].at + 1, since=DAY)
    assert len(found.order[lines.correlation_id]) == len(lines.order)


def test_an_order_that_was_sent_twice_is_two_stories() -> None:
    logs, lines = recorded("retried"), recording("retried")
    for line in lines.order:
        logs.write(line.group, line.at, line.text.replace(lines.correlation_id, "another-id"))
    found = search(LogGroups(NAMES, logs), "ord-2", now=lines.order[-1].at + 5, since=DAY)
    assert sorted(found.order) == sorted([lines.correlation_id, "another-id"])
    assert {len(story) for story in found.order.values()} == {len(lines.order)}


def test_lines_of_other_orders_that_mention_it_are_theirs() -> None:
    logs, lines = recorded("retried"), recording("retried")
    mention = {"correlation_id": "a-repeat", "message": f"taken before (correlation id {lines.correlation_id})"}
    logs.write("DeliveryLogGroup", lines.order[-1].at, json.dumps(mention))
    found = search(LogGroups(NAMES, logs), lines.correlation_id, now=lines.order[-1].at + 5, since=DAY)
    assert set(found.order[lines.correlation_id]) == set(lines.order)


@pytest.mark.parametrize(
    "text",
    [
        "REPORT RequestId: {id}\tDuration: 30000.00 ms\tBilled Duration: 30000 ms\tStatus: timeout",
        "2026-11-21T11:19:48.000Z {id} Task timed out after 30.00 seconds",
    ],
)
def test_what_the_platform_says_of_an_invocation_that_died_is_found_by_its_request_id(text: str) -> None:
    lines = recording("retried").until(1.5)
    logs = Logs()
    for line in lines.order:
        logs.write(line.group, line.at, line.text)
    [start] = [line for line in lines.order if line.group == "DeliveryLogGroup"]
    logs.write(start.group, start.at + 30, text.format(id=start.get("function_request_id")))
    logs.write(start.group, start.at + 31, text.format(id="another-invocation"))
    found = search(LogGroups(NAMES, logs), "ord-2", now=start.at + 60, since=DAY)
    deaths = [line for line in found.order[lines.correlation_id] if not line.fields]
    assert [line.at for line in deaths] == [pytest.approx(start.at + 30)]


@pytest.mark.parametrize("since", [60.0, FIRST_LOOK_S, DAY, 30 * DAY])
def test_windows_cover_the_time_to_look_back_over_without_a_gap(since: float) -> None:
    cut = list(windows(1_000_000_000.0, since))
    assert cut[0][1] == 1_000_000_000.0
    assert cut[-1][0] == 1_000_000_000.0 - since
    assert all(newer[0] == older[1] for newer, older in itertools.pairwise(cut))
