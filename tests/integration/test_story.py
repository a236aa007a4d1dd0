"""`make story` and the saved queries, on the local stack: what they show is what happened."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.stack import Stack
from tests import insights
from tests.integration.deployed_hub import Hub, eventually, order
from tests.template import variants
from tests.template.translated import logical_id

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NOBODY_SEES = ("Ada Lovelace", "ada@example.com", "12 St James", "SW1Y 4JH")


@pytest.fixture(autouse=True)
def healed(hub: Hub) -> Iterator[None]:
    yield
    hub.switch_courier("healthy")


def command(hub: Hub, *arguments: str, stack: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m local.story` as a person does."""
    return hub.command("local.story", *arguments, stack=stack)


def story(hub: Hub, identifier: str) -> dict[str, Any]:
    """Read the one story of an order."""
    answer = command(hub, identifier, "--json")
    assert answer.returncode == 0, answer.stderr
    [told] = json.loads(answer.stdout)
    return dict(told)


def place(hub: Hub, one: dict[str, Any]) -> str:
    """Send an order; returns its correlation id."""
    answer = hub.send(json.dumps(one).encode())
    assert answer.status == 202
    return str(answer.body["correlation_id"])


def test_the_story_of_an_order_that_was_tried_again_three_times(hub: Hub) -> None:
    one = order()
    hub.switch_courier("outage")
    correlation_id = place(hub, one)
    eventually(lambda: hub.calls([one["order_id"]]).get(one["order_id"]) == 3, within=60, what="three calls")
    waiting = eventually(
        lambda: (told := story(hub, correlation_id))["tries"] == 3 and told, within=10, what="the third try is logged"
    )
    assert waiting["verdict"]["state"] == "waiting"
    assert "next try" in waiting["verdict"]["text"]
    hub.switch_courier("healthy")
    hub.delivered([one["order_id"]], within=60)
    told = eventually(
        lambda: (told := story(hub, correlation_id))["verdict"]["state"] == "delivered" and told,
        within=10,
        what="the delivery is logged",
    )

    assert (told["order_id"], told["tries"]) == (one["order_id"], 4)
    assert [step["service"] for step in told["steps"]][:2] == ["api", "notification"]
    assert [step["text"] for step in told["steps"] if step["service"] == "sales"] == ["kept for marketing"]
    tries = [step for step in told["steps"] if step["service"] == "delivery"]
    assert [re.findall(r"receive (\d)\): (\w+), (HTTP \d+)", step["text"])[0] for step in tries] == [
        ("1", "unhealthy", "HTTP 500"),
        ("2", "unhealthy", "HTTP 500"),
        ("3", "unhealthy", "HTTP 500"),
        ("4", "delivered", "HTTP 201"),
    ]
    for before, after in itertools.pairwise(tries):
        [wait] = re.findall(r"next try in about (\d+) s", before["text"])
        gap = after["at"] - before["at"]
        assert int(wait) - 0.5 <= gap <= int(wait) + 15, "the story says how long the order waits, and so it does"
    courier = [step["text"] for step in told["steps"] if step["service"] == "courier"]
    assert [text.rpartition(" ")[2] for text in courier] == ["500", "500", "500", "201"]
    [seconds] = re.findall(r"delivered after ([\d.]+) s with 4 tries", told["verdict"]["text"])
    assert float(seconds) >= tries[-1]["at"] - told["received_at"] - 0.1

    assert story(hub, one["order_id"]) == told, "the order id tells the same story"
    shown = command(hub, one["order_id"])
    assert shown.returncode == 0
    assert shown.stdout.rstrip().endswith(told["verdict"]["text"])
    assert not [value for value in NOBODY_SEES if value in shown.stdout + json.dumps(told)]


def test_the_story_of_an_order_that_nobody_will_deliver(hub: Hub) -> None:
    refused = order(delivery_address={"line1": "Station 1", "postal_code": "0", "city": "McMurdo", "country": "AQ"})
    correlation_id = place(hub, refused)
    [(_, attributes)] = hub.dead_letters("DeliveryDeadLetterQueueUrl", 1)
    assert attributes["correlation_id"] == correlation_id, "the dead letter names its story"
    told = story(hub, correlation_id)
    assert told["verdict"] == {"state": "dead letter", "text": "dead letter because HTTP 422 (permanent), after 1 try"}


def test_an_order_that_is_sent_twice_is_two_stories(hub: Hub) -> None:
    one = order()
    place(hub, one)
    hub.delivered([one["order_id"]], within=30)
    second = place(hub, one)
    eventually(
        lambda: story(hub, second)["verdict"]["state"] == "repeated", within=30, what="the repeat has been handled"
    )
    both = json.loads(command(hub, one["order_id"], "--json").stdout)
    assert [told["verdict"]["state"] for told in both] == ["delivered", "repeated"]


def test_an_order_that_the_api_refused_has_a_story(hub: Hub) -> None:
    answer = hub.send(b"{}")
    told = eventually(
        lambda: story(hub, answer.body["correlation_id"]), within=10, what="the access log has the request"
    )
    assert told["verdict"]["state"] == "refused"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("nobody-knows-this-order",), 1, "Look further back"),
        (('"; drop',), 2, "letters, digits"),
        (("ord-1", "--since", "yesterday"), 2, "such as 90m or 7d"),
    ],
)
def test_whoever_asks_in_vain_is_told_what_to_do(hub: Hub, arguments: tuple[str, ...], status: int, words: str) -> None:
    answer = command(hub, *arguments)
    assert answer.returncode == status
    assert words in answer.stdout + answer.stderr


def test_a_stack_that_is_not_there_is_named(hub: Hub) -> None:
    answer = command(hub, "ord-1", stack="nowhere")
    assert answer.returncode == 2
    assert "nowhere" in answer.stdout
    assert "make up" in answer.stdout


# ---------------------------------------------------------------------------------------------------- saved queries


@pytest.fixture(scope="module")
def logs(stacks: dict[str, Stack]) -> dict[str, dict[str, list[insights.Row]]]:
    """Give what both variants' log groups hold of good and bad deliveries, by variant and logical id."""
    began = time.time()  # other tests kill functions on purpose
    for stack in stacks.values():
        make_traffic(Hub(stack), flow_control=stack.name == "flow-control")
    time.sleep(2)  # until the last lines are in the log
    return {name: dict(read_groups(stack, since=began)) for name, stack in stacks.items()}


def make_traffic(hub: Hub, *, flow_control: bool) -> None:
    """Send orders that are delivered at once, that are delivered later, and that never are."""
    hub.delivered(hub.place(*(order() for _ in range(3))), within=30)
    hub.switch_courier("outage")
    late = hub.place(order())
    eventually(lambda: hub.calls(late), within=30, what="a try that fails")
    time.sleep(1)
    hub.switch_courier("healthy")
    hub.delivered(late, within=60)
    nowhere = {"line1": "Station 1", "postal_code": "0", "city": "McMurdo", "country": "AQ"}
    lost = hub.place(order(delivery_address=nowhere))
    if flow_control:
        hub.dead_letters("DeliveryDeadLetterQueueUrl", 1)
    else:
        eventually(lambda: hub.calls(lost), within=30, what="a refused delivery")
    eventually(lambda: hub.sold(late + lost), within=30, what="sales are kept")


def read_groups(stack: Stack, since: float) -> Iterator[tuple[str, list[insights.Row]]]:
    """Read every log group of a stack, from a moment on."""
    pages = stack.client("logs").get_paginator("filter_log_events")
    for name, (kind, group) in stack.resources.items():
        if kind == "AWS::Logs::LogGroup":
            events = [
                event
                for page in pages.paginate(logGroupName=group, startTime=int(since * 1000))
                for event in page["events"]
            ]
            yield name, insights.rows((event["timestamp"], event["message"]) for event in events)


def query(logs: dict[str, dict[str, list[insights.Row]]], variant: str, name: str) -> tuple[str, list[insights.Row]]:
    """Return a saved query, and the rows of the log groups that it names."""
    properties = variants.stack(variant.replace("-", "_")).properties(name)
    groups = [logical_id(group) for group in properties["LogGroupNames"]]
    return properties["QueryString"], [row for group in groups for row in logs[variant][str(group)]]


VARIANTS = pytest.mark.parametrize("variant", ["flow-control", "no-flow-control"])
QUERIES = variants.stack("flow_control").of_type("AWS::Logs::QueryDefinition")


@VARIANTS
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_reads_only_fields_that_are_written(
    logs: dict[str, dict[str, list[insights.Row]]], variant: str, name: str
) -> None:
    text, rows = query(logs, variant, name)
    unknown = {field for field in insights.fields(text) if all(field not in row for row in rows)}
    only_with_flow_control = {"attempt", "retry_in_seconds"}
    assert unknown <= (set() if variant == "flow-control" else only_with_flow_control), "nothing writes these fields"


@VARIANTS
def test_the_story_query_shows_every_service(logs: dict[str, dict[str, list[insights.Row]]], variant: str) -> None:
    text, rows = query(logs, variant, "StoryQuery")
    [correlation_id, *_] = [row["correlation_id"] for row in rows if row.get("message") == "courier call"]
    shown = insights.run(text, rows, {"correlation_id": correlation_id})
    assert {row["service"] for row in shown} == {"api", "notification", "delivery", "sales", "sales-export", "slow-api"}
    assert [row["@timestamp"] for row in shown] == sorted(row["@timestamp"] for row in shown)
    assert {row["correlation_id"] for row in shown} == {correlation_id}


@VARIANTS
def test_the_unfinished_query_shows_what_began_and_did_not_end(
    logs: dict[str, dict[str, list[insights.Row]]], variant: str
) -> None:
    text, rows = query(logs, variant, "UnfinishedQuery")
    ended = {row["correlation_id"] for row in rows if row.get("status") in ("COMPLETED", "DEAD_LETTER")}
    assert not [row for row in insights.run(text, rows) if row["service"] != "delivery"]
    delivery = [row for row in rows if row.get("service") == "delivery"]
    [victim, *_] = [row["correlation_id"] for row in delivery if row.get("status") == "COMPLETED"]
    assert victim in ended
    cut = [row for row in rows if (row.get("correlation_id"), row.get("status")) != (victim, "COMPLETED")]
    found = {(row["correlation_id"], row["service"]) for row in insights.run(text, cut)}
    assert {(victim, "notification"), (victim, "delivery"), (victim, "sales"), (victim, "sales-export")} <= found


@VARIANTS
def test_the_success_rate_counts_each_attempt_once(
    logs: dict[str, dict[str, list[insights.Row]]], variant: str
) -> None:
    text, rows = query(logs, variant, "SuccessRateQuery")
    rates = {row["service"]: row for row in insights.run(text, rows)}
    assert set(rates) == {"notification", "delivery", "sales", "sales-export"}
    for service, rate in rates.items():
        starts = [row for row in rows if row.get("service") == service and row.get("status") == "START"]
        assert rate["ended"] == len(starts), "each attempt ends once"
    assert 0 < rates["delivery"]["success_percent"] < 100
    assert rates["sales"]["success_percent"] == 100


@VARIANTS
def test_the_slowest_deliveries_come_first(logs: dict[str, dict[str, list[insights.Row]]], variant: str) -> None:
    text, rows = query(logs, variant, "SlowestDeliveriesQuery")
    slowest = insights.run(text, rows)
    assert [row["seconds"] for row in slowest] == sorted((row["seconds"] for row in slowest), reverse=True)
    assert slowest[0]["tries"] >= 2, "the order that had to be tried again took longest"
    assert all(0 < row["seconds"] < 240 for row in slowest)
