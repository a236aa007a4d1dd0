"""CircuitFunction: what the machine asks it for, what people hear, and what the watchdog mends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest

from hub.circuit import ITEM_KEY
from hub.events import CIRCUIT_CHANGED, read_event
from tests.unit.aws import BUS, REGION, AwsErrors, Bus, Queue, create_table
from tests.unit.courier_server import CourierServer, Reply
from tests.unit.lambda_functions import call, load_function
from tests.unit.output import Output

type Read = Callable[[], Output]

ACCOUNT = "123456789012"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:circuit"
OWNER = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:circuit:one"
TRANSITION = {
    "action": "announce",
    "state": "open",
    "owner": OWNER,
    "version": 7,
    "reason": "too many calls to the courier fail",
    "cause": "alarm",
    "since": "2026-11-21T08:00:00.000Z",
    "failures": 0,
    "told": False,
}


@dataclass
class Circuit:
    """The function, and what it looks at."""

    load: Callable[..., ModuleType]
    bus: Bus
    messages: Queue
    table: Any
    aws: AwsErrors
    mapping: dict[str, Any]
    running: set[str]
    started: list[dict[str, Any]]
    alarms: dict[str, str]

    def put(self, **item: Any) -> None:
        """Write the circuit's item."""
        self.table.put_item(Item={"pk": ITEM_KEY, **item})

    def watch(self) -> str | None:
        """Let the watchdog look once."""
        answer: dict[str, str | None] = call(self.load(), {"action": "watch", "state_machine_arn": MACHINE})
        return answer["repair"]

    def told(self) -> list[str]:
        """Return the subjects of what people were told since the last call."""
        return [json.loads(message["Body"])["Subject"] for message in self.messages.take()]


@pytest.fixture
def circuit(bus: Bus, aws_errors: AwsErrors, monkeypatch: pytest.MonkeyPatch) -> Circuit:
    monkeypatch.setenv("AWS_REGION", REGION)
    messages = Queue("people")
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="people")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:people")
    environment = {
        "HUB_BUS_NAME": BUS,
        "ALARM_TOPIC_ARN": topic,
        "DELIVERY_TABLE_NAME": "delivery",
        "DELIVERY_QUEUE_URL": Queue("deliveries").url,
        "DELIVERY_MAPPING_ID": "mapping",
        "DELIVERY_LOG_GROUP_NAME": "delivery-log",
        "FAILURE_RATE_ALARM": "rate",
        "CALL_VOLUME_ALARM": "volume",
        "MAXIMUM_CONCURRENCY": "3",
        "COURIER_RATE": "10",
        "PROBE_WAIT_MIN": "10",
        "PROBE_WAIT_MAX": "300",
    }
    circuit = Circuit(
        load=lambda **more: load_function("circuit", environment | more),
        bus=bus,
        messages=messages,
        table=create_table("delivery", "pk"),
        aws=aws_errors,
        mapping={"State": "Enabled", "ScalingConfig": {"MaximumConcurrency": 3}},
        running=set(),
        started=[],
        alarms={"rate": "OK", "volume": "OK"},
    )
    _stand_in(circuit)
    return circuit


def _stand_in(circuit: Circuit) -> None:
    """Answer for mapping, machine and alarms, which moto cannot put into the states that matter here."""

    def describe_execution(parameters: Any, _proceed: Any) -> Any:
        return {"status": "RUNNING" if parameters["executionArn"] in circuit.running else "SUCCEEDED"}

    def start_execution(parameters: Any, _proceed: Any) -> Any:
        assert parameters["stateMachineArn"] == MACHINE
        circuit.started.append(json.loads(parameters["input"]))
        return {"executionArn": OWNER}

    def update_mapping(parameters: Any, _proceed: Any) -> Any:
        circuit.mapping["ScalingConfig"] = parameters["ScalingConfig"]
        return circuit.mapping

    def describe_alarms(parameters: Any, _proceed: Any) -> Any:
        return {"MetricAlarms": [{"StateValue": circuit.alarms[name]} for name in parameters["AlarmNames"]]}

    circuit.aws.on("GetEventSourceMapping", lambda _parameters, _proceed: circuit.mapping)
    circuit.aws.on("UpdateEventSourceMapping", update_mapping)
    circuit.aws.on("DescribeExecution", describe_execution)
    circuit.aws.on("StartExecution", start_execution)
    circuit.aws.on("DescribeAlarms", describe_alarms)


def test_waits_and_steps_follow_the_rules(circuit: Circuit) -> None:
    function = circuit.load()
    assert 5 <= call(function, {"action": "wait", "failures": 0})["seconds"] <= 10
    assert 150 <= call(function, {"action": "wait", "failures": 50})["seconds"] <= 300
    assert call(function, {"action": "ramp-step", "number": 0}) == {"concurrency": 2, "rate": 2.0, "full": False}
    assert call(function, {"action": "ramp-step", "number": 3}) == {"concurrency": 3, "rate": 10.0, "full": True}


@pytest.mark.parametrize("state", CIRCUIT_CHANGED)
def test_every_transition_is_an_event_that_follows_its_schema_and_a_metric(
    circuit: Circuit, state: str, output: Read
) -> None:
    function = circuit.load()
    for _ in range(2):
        call(function, TRANSITION | {"state": state})
    first, second = circuit.bus.published()
    assert first["detail-type"] == CIRCUIT_CHANGED[state]
    event = read_event(first, CIRCUIT_CHANGED[state])
    assert event.correlation_id == "one"
    assert event.data["state"] == state
    assert event.event_id == second["detail"]["metadata"]["event_id"], "told twice, it is one event"
    assert output().metric({"half-open": "CircuitHalfOpen"}.get(state, f"Circuit{state.capitalize()}")) == 2


@pytest.mark.parametrize(
    ("state", "told", "messages"),
    [("open", False, 1), ("open", True, 0), ("half-open", True, 0), ("ramping", True, 0), ("closed", True, 1)],
)
def test_people_are_not_called_for_every_round(circuit: Circuit, state: str, told: bool, messages: int) -> None:
    call(circuit.load(), TRANSITION | {"state": state, "told": told})
    assert len(circuit.told()) == messages


def test_people_get_what_they_need_and_the_message_goes_out_without_what_cannot_be_had(circuit: Circuit) -> None:
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="delivery-log")
    logs.create_log_stream(logGroupName="delivery-log", logStreamName="one")
    line = {"status": "FAILED", "error": "NotDelivered", "reason": "unhealthy: HTTP 500", "correlation_id": "abc"}
    now = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName="delivery-log",
        logStreamName="one",
        logEvents=[{"timestamp": now, "message": json.dumps(line)}],
    )
    circuit.aws.refuse("GetQueueAttributes")
    call(circuit.load(), TRANSITION)
    [message] = circuit.messages.take()
    text = json.loads(message["Body"])["Message"]
    assert "Reason: too many calls to the courier fail" in text
    assert "unhealthy: HTTP 500 (correlation id abc)" in text
    assert "logs-insights" in text
    assert "Orders that wait" not in text


def test_an_announcement_that_the_bus_refuses_is_an_error_but_people_are_told(circuit: Circuit, no_waits: None) -> None:
    circuit.aws.refuse_events(lambda _: True)
    with pytest.raises(RuntimeError, match=r"circuit\.opened is not on the bus"):
        call(circuit.load(), TRANSITION)
    assert len(circuit.told()) == 1


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [(Reply(200), "healthy"), (Reply(204), "healthy"), (Reply(302), "sick"), (Reply(503), "sick")],
)
def test_the_health_check_is_asked(circuit: Circuit, courier: CourierServer, reply: Reply, verdict: str) -> None:
    courier.reply = lambda _request: reply
    function = circuit.load(HEALTH_CHECK_URL=courier.url)
    assert call(function, {"action": "health-check"}) == {"verdict": verdict}


def test_a_health_check_that_nobody_answers_is_sick_and_none_says_nothing(circuit: Circuit) -> None:
    function = circuit.load(HEALTH_CHECK_URL="http://127.0.0.1:9/")
    assert call(function, {"action": "health-check"}) == {"verdict": "sick"}
    assert call(circuit.load(), {"action": "health-check"}) == {"verdict": "nothing"}


def test_the_watchdog_leaves_a_sound_circuit_alone(circuit: Circuit, output: Read) -> None:
    assert circuit.watch() is None
    assert output().metric("CircuitNotClosed") == 0
    circuit.put(state="open", version=3, owner=OWNER, changed_at="2026-11-21T08:00:00.000Z")
    circuit.mapping["State"] = "Disabled"
    circuit.running.add(OWNER)
    assert circuit.watch() is None
    written = output()
    assert (written.metric("CircuitNotClosed"), written.metric("CircuitLevel")) == (1, 3)
    assert circuit.started == []
    assert circuit.told() == []


@pytest.mark.parametrize("state", ["open", "half-open", "ramping", "broken", "what is this"])
def test_the_watchdog_resumes_a_circuit_whose_machine_is_dead(circuit: Circuit, state: str, output: Read) -> None:
    circuit.put(state=state, version=3, owner=OWNER, reason="the first reason")
    assert circuit.watch() == "resume"
    assert circuit.started == [{"action": "resume", "reason": "the first reason", "cause": "watchdog", "version": 3}]
    assert circuit.told() == ["Circuit repaired by the watchdog"]
    assert output().metric("CircuitRepaired") == 1


def test_what_the_watchdog_starts_ends_if_somebody_was_faster(circuit: Circuit) -> None:
    """It carries the version that was seen, or a person's "open" could be undone by a look from just before it."""
    circuit.put(state="closed", version=12)
    circuit.mapping["State"] = "Disabled"
    assert circuit.watch() == "close"
    assert circuit.started[0]["version"] == 12


def test_a_version_that_is_no_number_counts_as_missing_as_it_does_for_the_machine(circuit: Circuit) -> None:
    circuit.put(state="open", version="7", owner=OWNER)
    assert circuit.watch() == "resume"
    assert circuit.started[0]["version"] == 0


def test_an_execution_of_another_machine_leads_nothing(circuit: Circuit) -> None:
    """The watchdog may ask for this machine's executions only, and a refusal each minute would blind it for ever."""
    circuit.aws.refuse("DescribeExecution", "AccessDeniedException")
    circuit.put(state="open", version=3, owner=OWNER.replace(":circuit:", ":its-predecessor:"))
    assert circuit.watch() == "resume"


def test_the_watchdog_closes_opens_and_corrects(circuit: Circuit) -> None:
    circuit.mapping["State"] = "Disabled"
    assert circuit.watch() == "close"
    circuit.mapping["State"] = "Enabled"
    circuit.alarms["rate"] = "ALARM"
    assert circuit.watch() is None, "a failure rate without volume says nothing"
    circuit.alarms["volume"] = "ALARM"
    assert circuit.watch() == "open"
    assert [(given["action"], given["version"]) for given in circuit.started] == [("close", 0), ("open", 0)]
    circuit.alarms["volume"] = "OK"
    circuit.mapping["ScalingConfig"] = {"MaximumConcurrency": 2}
    assert circuit.watch() == "set-concurrency"
    assert circuit.watch() is None


def test_a_watchdog_that_cannot_see_fails_loudly(circuit: Circuit) -> None:
    circuit.put(state="open", version=3, owner=OWNER)
    circuit.aws.refuse("DescribeExecution", "ThrottlingException")
    with pytest.raises(Exception, match="ThrottlingException"):
        circuit.watch()
    assert circuit.started == [], "not knowing whether a machine runs is no reason to start one"
