"""From a dead letter to an order that is delivered after all: told, sent again at a set rate, replayed.

The real machines in a real interpreter of their language, with real functions, queues, alarms and HTTP. A minute of a
schedule takes two seconds here, so people are told of what arrives while an alarm fires within ten.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.circuit import read_item
from local.stack import VARIANTS, EmulatorSettings, RunningEmulator
from tests.integration.conftest import FAST
from tests.integration.deployed_hub import Hub, eventually, order
from tests.unit.orders import an_envelope

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LETTERS = "DeliveryDeadLetterQueueUrl"
NO_PROBES = {"CircuitProbeWaitMin": "600", "CircuitProbeWaitMax": "600", "CircuitRampSeconds": "1"}
PATIENT = {"CourierTimeout": "5"}
"""A hundred orders at once may take this machine longer than the usual 2 s, and late answers would open the circuit."""


class Recovery:
    """A deployed hub, what its people hear, and its machines."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.outputs = hub.stack.outputs
        sqs, sns = hub.sqs, hub.stack.client("sns")
        self._people = sqs.create_queue(QueueName=f"people-of-{hub.stack.name}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self._people, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self.outputs["AlarmTopicArn"], Protocol="sqs", Endpoint=arn)

    def start(self, machine: str, **given: Any) -> str:
        """Start a machine, named by the output with its ARN."""
        return self.hub.start(machine, given)

    def ended(self, execution: str) -> dict[str, Any]:
        """Wait for the end of an execution that succeeds; returns its output."""
        described = self.hub.ended(execution, within=120)
        assert described["status"] == "SUCCEEDED", described
        output: dict[str, Any] = json.loads(described["output"])
        return output

    def redrive(self, **given: Any) -> dict[str, Any]:
        """Redrive to the end."""
        return self.ended(self.start("RedriveArn", **given))

    def heard(self) -> list[tuple[str, str]]:
        """Take subjects and texts of what people heard since the last call."""
        heard: list[tuple[str, str]] = []
        while messages := self.hub.sqs.receive_message(
            QueueUrl=self._people, MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                body = json.loads(message["Body"])
                heard.append((body.get("Subject", ""), body["Message"]))
                self.hub.sqs.delete_message(QueueUrl=self._people, ReceiptHandle=message["ReceiptHandle"])
        return heard

    def dies(self, count: int, **changes: Any) -> list[str]:
        """Place orders that the courier refuses, and wait until they are dead."""
        self.hub.switch_courier("refuse")
        before = self.hub.waiting(LETTERS)
        order_ids = self.hub.place(*(order(**changes) for _ in range(count)))
        try:
            eventually(lambda: self.hub.waiting(LETTERS) >= before + count, within=60, what=f"{count} dead letters")
        except AssertionError as error:
            queues = ("IngestQueueUrl", "DeliveryQueueUrl", LETTERS)
            waiting = {queue: self.hub.waiting(queue) for queue in queues}
            raise AssertionError(f"{error}: {waiting}") from None
        return order_ids

    def lines(self, log_group: str, status: str, since: float) -> list[dict[str, Any]]:
        """The log lines with a status, from a moment on."""
        pages = self.hub.stack.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(
            logGroupName=self.hub.stack.physical_id(log_group),
            startTime=int(since * 1000),
            filterPattern=f'"{status}"',
        )
        lines = [
            json.loads(event["message"]) for page in found for event in page["events"] if event["message"][0] == "{"
        ]
        return [line for line in lines if line.get("status") == status]


@pytest.fixture(scope="module")
def hubs() -> Iterator[dict[str, Hub]]:
    settings = EmulatorSettings(
        async_retry_base_seconds=1, alarm_seconds=0.5, metric_seconds=0.5, schedule_minute_seconds=2
    )
    with RunningEmulator.start(settings) as emulator:
        stacks = emulator.deploy_all(
            {
                "letters": VARIANTS["flow-control"] | FAST | NO_PROBES | PATIENT,
                "letters-direct": VARIANTS["no-flow-control"] | FAST,
            }
        )
        yield {name: Hub(stack) for name, stack in stacks.items()}


@pytest.fixture(scope="module")
def recovery(hubs: dict[str, Hub]) -> Recovery:
    return Recovery(hubs["letters"])


@pytest.fixture(autouse=True)
def _clean(recovery: Recovery) -> Iterator[None]:
    yield
    recovery.hub.switch_courier("healthy")
    recovery.hub.sqs.purge_queue(QueueUrl=recovery.outputs[LETTERS])
    recovery.heard()


def test_a_hundred_dead_letters_are_told_and_delivered_once_at_the_set_rate(recovery: Recovery) -> None:
    rate, count = 10, 100
    order_ids = recovery.dies(count)
    told: list[tuple[str, str]] = []

    def all_told() -> bool:
        told.extend(pair for pair in recovery.heard() if re.match(r"[\d,]+ new dead letters? in delivery", pair[0]))
        return sum(int(subject.partition(" ")[0]) for subject, _ in told) >= count

    eventually(all_told, within=60, what=f"people know all of them: {[subject for subject, _ in told]}")
    assert sum(int(subject.partition(" ")[0]) for subject, _ in told) == count, "each once"
    assert len(told) <= 8, "many at once are one message"
    for _, text in told:
        assert "permanent: HTTP 422" in text
        assert "make redrive QUEUE=delivery STACK=letters" in text
        assert "Ada" not in text

    recovery.hub.switch_courier("healthy")
    started = time.time()
    first = recovery.start("RedriveArn", queue="delivery", rate=rate)
    time.sleep(2)
    second = recovery.redrive(queue="delivery")
    assert second["result"] == "refused"
    assert first in second["why"], "one redrive at a time"
    report = recovery.ended(first)
    assert (report["result"], report["moved"], report["left"], report["back"]) == ("done", count, 0, 0), report
    recovery.hub.delivered(order_ids, within=30)
    assert f"Redrive of delivery done: {count} letters" in [subject for subject, _ in recovery.heard()]
    _assert_rate(recovery, started, rate, count)


def _assert_rate(recovery: Recovery, started: float, rate: float, count: int) -> None:
    begun = recovery.lines("DeliveryLogGroup", "START", started)
    times = sorted(datetime.fromisoformat(line["timestamp"]).timestamp() for line in begun)
    assert len(times) == count, "each order was tried once"
    assert times[-1] - times[0] >= (count - 1) / rate - 3
    for begin in times:
        # Delays are whole seconds, and a batch gathers for one.
        assert sum(begin <= moment < begin + 4 for moment in times) <= rate * (4 + 2)


def test_it_refuses_while_the_circuit_is_open(recovery: Recovery) -> None:
    recovery.dies(3)
    recovery.hub.switch_courier("healthy")
    opened = recovery.start("CircuitBreakerArn", action="open", reason="test", cause="person")
    eventually(lambda: _circuit(recovery) == "open", within=30, what="the circuit is open")
    try:
        report = recovery.redrive(queue="delivery")
        assert (report["result"], report["moved"]) == ("refused", 0)
        assert "the circuit is open" in report["why"]
        assert recovery.hub.waiting(LETTERS) == 3
        eventually(
            lambda: any(subject == "Redrive of delivery refused: 0 letters" for subject, _ in recovery.heard()),
            within=10,
            what="people hear of it",
        )
    finally:
        recovery.start("CircuitBreakerArn", action="close", reason="test", cause="person")
        eventually(lambda: _circuit(recovery) == "closed", within=90, what=f"the circuit closes after {opened}")


def test_it_stops_when_the_circuit_opens(recovery: Recovery) -> None:
    recovery.dies(30)
    recovery.hub.switch_courier("healthy")
    redrive = recovery.start("RedriveArn", queue="delivery", rate=1)
    eventually(lambda: recovery.hub.waiting(LETTERS) < 30, within=20, what="letters move")
    recovery.start("CircuitBreakerArn", action="open", reason="test", cause="person")
    try:
        report = recovery.ended(redrive)
        assert report["result"] == "stopped"
        assert "the circuit is open" in report["why"]
        assert 0 < report["moved"] < 30
        assert recovery.hub.waiting(LETTERS) == report["left"] == 30 - report["moved"]
    finally:
        recovery.start("CircuitBreakerArn", action="close", reason="test", cause="person")
        eventually(lambda: _circuit(recovery) == "closed", within=90, what="the circuit closes")


def _circuit(recovery: Recovery) -> str:
    return read_item(recovery.outputs, recovery.hub.dynamodb)["state"]


def test_it_stops_when_failures_return(recovery: Recovery) -> None:
    recovery.dies(20)
    report = recovery.redrive(queue="delivery", rate=1)
    assert report["result"] == "stopped"
    assert "sent again is back: permanent: HTTP 422" in report["why"]
    assert report["moved"] <= 15
    assert report["for_good"] == report["moved"]
    eventually(lambda: recovery.hub.waiting(LETTERS) == 20, within=20, what="none is lost")


def test_a_reason_leaves_the_others_alone(recovery: Recovery) -> None:
    order_ids = recovery.dies(5)
    recovery.hub.sqs.send_message(QueueUrl=recovery.outputs["DeliveryQueueUrl"], MessageBody="{no order")
    eventually(lambda: recovery.hub.waiting(LETTERS) == 6, within=30, what="the unreadable one is there too")
    recovery.hub.switch_courier("healthy")
    report = recovery.redrive(queue="delivery", only_reason="http 422", rate=20)
    assert (report["result"], report["moved"], report["skipped"], report["left"]) == ("done", 5, 1, 1), report
    recovery.hub.delivered(order_ids, within=30)
    [(body, attributes)] = recovery.hub.dead_letters(LETTERS, 1)
    assert (body, attributes["outcome"]) == ("{no order", "poison")


def test_what_the_bus_could_not_hand_over_goes_to_its_target(recovery: Recovery) -> None:
    queue, lost = recovery.outputs["SalesQueueUrl"], order()
    arn = recovery.hub.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes = {"RULE_ARN": "arn:rule", "TARGET_ARN": arn, "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "denied"}
    recovery.hub.sqs.send_message(
        QueueUrl=recovery.outputs["EventDeadLetterQueueUrl"],
        MessageBody=json.dumps(an_envelope(lost)),
        MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
    )
    report = recovery.redrive(queue="event-bus")
    assert (report["moved"], report["left"]) == (1, 0), report
    eventually(lambda: recovery.hub.sold([lost["order_id"]]), within=20, what="it is sold after all")


def test_without_flow_control_letters_go_back_as_well(hubs: dict[str, Hub]) -> None:
    direct = Recovery(hubs["letters-direct"])
    direct.hub.sqs.send_message(QueueUrl=direct.outputs["SalesQueueUrl"], MessageBody="{no order")
    eventually(lambda: direct.hub.waiting("SalesDeadLetterQueueUrl") == 1, within=30, what="it is dead")
    report = direct.redrive(queue="sales")
    assert (report["result"], report["moved"], report["back"]) == ("done", 1, 1), "and comes back at once"
    now = datetime.now(UTC)
    window = {"from": (now - timedelta(minutes=5)).isoformat(), "to": now.isoformat()}
    refused = direct.ended(direct.start("ReplayArn", rule="delivery", **window))
    assert "rule must be one of sales:" in refused["why"], "nobody remembers what was delivered"


def test_a_window_is_replayed_to_one_consumer_without_a_second_effect(recovery: Recovery) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=1)
    order_ids = recovery.hub.place(*(order() for _ in range(10)))
    recovery.hub.delivered(order_ids, within=30)
    rows = eventually(lambda: _if_all_sold(recovery, order_ids), within=20, what="all are sold")
    recovery.hub.dynamodb.delete_item(
        TableName=recovery.outputs["SalesTableName"], Key={"order_id": {"S": order_ids[0]}}
    )
    time.sleep(1)
    window = {"from": begun.isoformat(), "to": datetime.now(UTC).isoformat()}
    report = recovery.ended(recovery.start("ReplayArn", rule="sales", **window))
    assert report["result"] == "done", report

    assert eventually(lambda: _if_all_sold(recovery, order_ids), within=20, what="the lost one is there") == rows
    marked = eventually(lambda: _replayed(recovery, report["mark"], "SalesLogGroup", begun), within=20, what="marked")
    assert {line["order_id"] for line in marked} == set(order_ids)
    assert _replayed(recovery, report["mark"], "DeliveryLogGroup", begun) == [], "delivery knows nothing of it"
    assert set(recovery.hub.calls(order_ids).values()) == {1}
    assert "Replay to sales done" in [subject for subject, _ in recovery.heard()]

    again = recovery.ended(recovery.start("ReplayArn", rule="delivery", **window))
    done = eventually(
        lambda: _replayed(recovery, again["mark"], "DeliveryLogGroup", begun), within=30, what="delivery has it too"
    )
    assert {line["order_id"] for line in done} == set(order_ids)
    assert set(recovery.hub.calls(order_ids).values()) == {1}, "the courier was called for no order again"


def _if_all_sold(recovery: Recovery, order_ids: list[str]) -> list[dict[str, Any]] | None:
    rows = sorted(recovery.hub.sold(order_ids), key=lambda row: str(row["order_id"]))
    return rows if len(rows) == len(order_ids) else None


def _replayed(recovery: Recovery, name: str, log_group: str, begun: datetime) -> list[dict[str, Any]]:
    lines = recovery.lines(log_group, "COMPLETED", begun.timestamp())
    return [line for line in lines if line.get("replay") == name]


def test_a_person_lists_redrives_and_replays_from_the_command_line(recovery: Recovery) -> None:
    def by_hand(*arguments: str) -> subprocess.CompletedProcess[str]:
        return recovery.hub.command("local.recovery", *arguments)

    recovery.dies(2)
    recovery.hub.switch_courier("healthy")
    shown = by_hand("letters").stdout
    assert re.search(r"delivery\s+│\s+2 │\s+2 │ permanent: HTTP 422", shown), shown
    assert "make redrive QUEUE=delivery STACK=letters" in shown
    nowhere = by_hand("redrive", "--queue", "drafts")
    assert nowhere.returncode == 1
    assert "queue must be one of ingest, event-bus, sales, delivery" in nowhere.stdout
    done = by_hand("redrive", "--queue", "delivery", "--only-reason", "422", "--rate", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"sent again +2", done.stdout)
    assert recovery.hub.waiting(LETTERS) == 0
    future = by_hand("replay", "--rule", "sales", "--from", "now", "--to", "2100-01-01T00:00:00Z")
    assert "to must not lie in the future" in future.stdout
    replayed = by_hand("replay", "--rule", "sales", "--from=-5m", "--to", "now")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "every event of the window was replayed" in replayed.stdout
